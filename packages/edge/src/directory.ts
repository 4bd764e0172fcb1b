/**
 * Directory of live sessions and their targets. It is the edge's copy of the broker's sessions and is updated by
 * EdgeEvent. It fails closed: a session is not live if it is unknown, if it has expired, or if the feed has been silent
 * for too long.
 */
import type { AdmittedSession, EdgeEvent } from '@meshpass/identity';
import type { DrainingTunnels } from '@meshpass/identity/channel/edge-wire';

/**
 * Milliseconds without a beat after which the directory is stale. Equals the default lifetime of an SVID, so that
 * losing the broker does not end traffic before the credentials expire. The broker sends a beat every 2 s.
 */
export const STALE_MS = 600_000;
/**
 * Time that the edge keeps a grant beyond its end, ms. The broker removes or extends a grant within a second of its
 * end. Only a missing broker does neither within this time.
 */
const GRANT_GRACE_MS = 5_000;
/** Interval at which expiry and staleness are checked, ms. */
const SWEEP_MS = 250;

export interface LiveSession {
  readonly id: string;
  /** Time at which the session ends at the latest, Unix ms. */
  readonly expiresAt: number;
  /** Targets of each principal (SPIFFE id) in the form `host:port`. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string>>;
  /**
   * Time at which each principal is dropped, Unix ms. This is the end of its grant plus GRANT_GRACE_MS. Principals are
   * missing if the broker has not sent the end of their grant.
   */
  readonly ends: ReadonlyMap<string, number>;
  /** Grant set. It determines which announced configuration applies. */
  readonly set: string | undefined;
}

export interface SessionDirectoryListener {
  /** Called when a session has ended. All its connections must be cut immediately. */
  closed?(sessionId: string, reason: string): void;
  /** Called when a session continues with fewer targets. Connections for which `mayReach` is now false must be cut. */
  narrowed?(session: LiveSession): void;
  /** Called when the mesh's roots have changed. `removed` is true if at least one root is no longer trusted. */
  roots?(roots: readonly string[], removed: boolean): void;
  /** Called when the broker has sent a statement for the agent of a closed session. */
  notice?(sessionId: string, statement: string): void;
  /** Called when the broker has announced the configuration of a grant set. */
  configuration?(announced: { readonly set: string; readonly digest: string; readonly statement: string }): void;
  /** Called when an edge is about to end tunnels of these sessions. */
  draining?(sessions: readonly DrainingTunnels[]): void;
}

export type SessionDirectory = ReturnType<typeof createSessionDirectory>;

export interface SessionDirectoryOptions {
  /** Unix ms. */
  readonly clock: () => number;
  /** Milliseconds without a beat after which new tunnels are refused. Defaults to STALE_MS. */
  readonly staleMs?: number;
  /** Milliseconds without a beat after which open tunnels are ended. Defaults to `staleMs`. */
  readonly abandonMs?: number;
}

/** Whether a session's principal may reach `host:port`. */
export function mayReach(session: LiveSession, spiffeId: string, target: string): boolean {
  return session.targets.get(spiffeId)?.has(target) ?? false;
}

/** Creates an empty directory. */
export function createSessionDirectory(options: SessionDirectoryOptions) {
  const { clock, staleMs = STALE_MS, abandonMs = staleMs } = options;
  const sessions = new Map<string, LiveSession>();
  const owners = new Map<string, LiveSession>();
  const listeners = new Set<SessionDirectoryListener>();
  let roots: readonly string[] = [];
  let heardAt: number | undefined;
  let abandoned = false;
  let closed = false;
  let nextExpiry = Number.POSITIVE_INFINITY;

  const handlers: { readonly [Type in EdgeEvent['type']]: (event: Extract<EdgeEvent, { type: Type }>) => void } = {
    snapshot: (event) => {
      setRoots(event.roots);
      replaceAll(event.sessions);
    },
    admit: ({ session }) => admit(session),
    close: ({ id, reason }) => remove(id, reason),
    roots: (event) => setRoots(event.roots),
    beat: () => {},
    notice: ({ id, statement }) => tell((listener) => listener.notice?.(id, statement)),
    configuration: (event) => tell((listener) => listener.configuration?.(event)),
    draining: (event) => tell((listener) => listener.draining?.(event.sessions)),
  };
  const timer = setInterval(sweep, SWEEP_MS);
  timer.unref();
  return {
    /** Applies an event. Events are trusted, because they were parsed and arrived over an authenticated channel. */
    apply,
    /**
     * Returns the live session of a principal in constant time. Returns undefined if there is none, if it has expired,
     * or if the directory is stale.
     */
    find,
    /**
     * Returns a session that was admitted and has not been closed. It may no longer be live; only `find` checks that.
     */
    byId: (id: string) => sessions.get(id),
    /**
     * Returns `empty` before the first snapshot, `stale` if new tunnels are refused, and `abandoned` if open tunnels
     * have also been ended.
     */
    state,
    /** Returns the mesh's roots as PEM. */
    roots: () => roots,
    size: () => sessions.size,
    /** Checks expiry and staleness immediately. A timer does the same every 250 ms. */
    sweep,
    /** Returns the milliseconds since the feed's last beat, or 0 before the first snapshot. */
    silentFor: () => (heardAt === undefined ? 0 : clock() - heardAt),
    /**
     * Adds a listener.
     * @returns a function that removes the listener
     */
    listen(listener: SessionDirectoryListener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /** Stops the timer. From then on, the directory is stale. */
    close() {
      closed = true;
      clearInterval(timer);
    },
  };

  function apply(event: EdgeEvent): void {
    // Only a snapshot ends the abandoned state, because events may have been missed.
    if (event.type !== 'snapshot' && (heardAt === undefined || abandoned)) return;
    // Other events do not prove that the broker is active. A broker that cannot determine whether another one has taken
    // over sends no beats.
    if (event.type === 'snapshot' || event.type === 'beat') heardAt = clock();
    (handlers[event.type] as (event: EdgeEvent) => void)(event);
  }

  function replaceAll(next: readonly AdmittedSession[]): void {
    abandoned = false;
    const kept = new Set(next.map(({ id }) => id));
    for (const id of [...sessions.keys()]) if (!kept.has(id)) remove(id, 'the broker no longer knows the session');
    for (const session of next) admit(session);
  }

  function find(spiffeId: string): LiveSession | undefined {
    if (state() !== 'fresh') return undefined;
    const session = owners.get(spiffeId);
    return session && session.expiresAt > clock() ? session : undefined;
  }

  function state(): 'empty' | 'fresh' | 'stale' | 'abandoned' {
    if (heardAt === undefined) return 'empty';
    if (abandoned) return 'abandoned';
    return closed || clock() - heardAt > staleMs ? 'stale' : 'fresh';
  }

  function admit(admitted: AdmittedSession): void {
    const session: LiveSession = {
      id: admitted.id,
      expiresAt: admitted.expires_at * 1000,
      targets: new Map(
        admitted.principals.map((principal) => [
          principal.spiffe_id,
          new Set(principal.targets.map((target) => `${target.host}:${target.port}`)),
        ]),
      ),
      ends: new Map(
        admitted.principals.flatMap(({ spiffe_id, until }) =>
          until === undefined ? [] : [[spiffe_id, until * 1000 + GRANT_GRACE_MS] as const],
        ),
      ),
      set: admitted.set,
    };
    replace(withoutEnded(session, clock()));
  }

  function replace(session: LiveSession): void {
    const before = sessions.get(session.id);
    if (before) disown(before);
    sessions.set(session.id, session);
    for (const spiffeId of session.targets.keys()) owners.set(spiffeId, session);
    nextExpiry = Math.min(nextExpiry, endOf(session));
    if (before) tell((listener) => listener.narrowed?.(session));
  }

  function remove(id: string, reason: string): void {
    const session = sessions.get(id);
    if (!session) return;
    sessions.delete(id);
    disown(session);
    tell((listener) => listener.closed?.(id, reason));
  }

  // A principal may already belong to a newer session, so only its current owner may release it.
  function disown(session: LiveSession): void {
    for (const spiffeId of session.targets.keys()) if (owners.get(spiffeId) === session) owners.delete(spiffeId);
  }

  function setRoots(next: readonly string[]): void {
    const removed = roots.some((root) => !next.includes(root));
    if (!removed && next.length === roots.length) return;
    roots = [...next];
    tell((listener) => listener.roots?.(roots, removed));
  }

  function tell(send: (listener: SessionDirectoryListener) => void): void {
    for (const listener of listeners) send(listener);
  }

  function sweep(): void {
    const now = clock();
    if (heardAt !== undefined && !abandoned && now - heardAt > abandonMs) abandon();
    if (now >= nextExpiry) expire(now);
  }

  function abandon(): void {
    abandoned = true;
    for (const id of [...sessions.keys()]) remove(id, 'the broker has been silent for too long');
  }

  function expire(now: number): void {
    nextExpiry = Number.POSITIVE_INFINITY;
    for (const session of [...sessions.values()]) {
      if (session.expiresAt <= now) remove(session.id, 'the session has expired');
      else if (endOf(session) <= now) replace(withoutEnded(session, now));
      else nextExpiry = Math.min(nextExpiry, endOf(session));
    }
  }
}

/** Returns the earliest expiry in a session, Unix ms. */
function endOf({ expiresAt, ends }: LiveSession): number {
  return Math.min(expiresAt, ...ends.values());
}

/** Removes principals whose grants have ended. */
function withoutEnded(session: LiveSession, now: number): LiveSession {
  const lives = ([spiffeId]: readonly [string, unknown]) => (session.ends.get(spiffeId) ?? now + 1) > now;
  const ends = new Map([...session.ends].filter(lives));
  return { ...session, targets: new Map([...session.targets].filter(lives)), ends };
}
