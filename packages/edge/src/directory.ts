/**
 * The directory of live sessions and their targets. It is the edge's copy of the broker's sessions and is updated by
 * EdgeEvents. The directory fails closed: a session is not live if it is unknown, if it has expired, or if the feed has
 * been silent for too long.
 */
import type { AdmittedSession, DrainingTunnels, EdgeEvent } from '@meshpass/identity/channel';

/**
 * How long the feed may be silent before the directory is stale, in milliseconds. This equals the default lifetime of
 * an SVID, so losing the broker does not end traffic before the credentials expire. The broker sends a beat every 2
 * seconds.
 */
export const STALE_MS = 600_000;
/**
 * How long the edge keeps a grant after it has ended, in milliseconds. The broker removes or extends a grant within a
 * second of its end, so this only matters if the broker is unavailable.
 */
const GRANT_GRACE_MS = 5_000;
/** How often the directory checks for expiry and staleness, in milliseconds. */
const SWEEP_MS = 250;

export interface LiveSession {
  readonly id: string;
  /** The latest time at which the session can end, in Unix milliseconds. */
  readonly expiresAt: number;
  /** The targets that each principal (a SPIFFE ID) may reach, in the form `host:port`. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string>>;
  /**
   * When each principal is dropped, in Unix milliseconds. This is the end of its grant plus GRANT_GRACE_MS. A principal
   * is missing if the broker has not sent the end of its grant.
   */
  readonly ends: ReadonlyMap<string, number>;
  /** The session's grant set, which determines which announced configuration applies. */
  readonly set: string | undefined;
}

export interface SessionDirectoryListener {
  /** Called when a session has ended. All of its connections to targets must be cut immediately. */
  closed?(sessionId: string, reason: string): void;
  /**
   * Called when the targets of a session have changed. Connections for which `mayReach` now returns false must be cut.
   */
  changed?(session: LiveSession): void;
  /**
   * Called when the mesh's root certificates have changed. `removed` is true if at least one of them is no longer
   * trusted.
   */
  roots?(roots: readonly string[], removed: boolean): void;
  /** Called when the broker has sent a statement to the agent of a closed session. */
  notice?(sessionId: string, statement: string): void;
  /** Called when the broker has announced the configuration of a grant set. */
  configuration?(announced: { readonly set: string; readonly digest: string; readonly statement: string }): void;
  /** Called when an edge is about to end tunnels of the given sessions. */
  draining?(sessions: readonly DrainingTunnels[]): void;
}

export type SessionDirectory = ReturnType<typeof createSessionDirectory>;

export interface SessionDirectoryOptions {
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
  /** How long the feed may be silent before new tunnels are refused, in milliseconds. Defaults to STALE_MS. */
  readonly staleMs?: number;
  /** How long the feed may be silent before open tunnels are ended, in milliseconds. Defaults to `staleMs`. */
  readonly abandonMs?: number;
}

/** Returns whether a principal of the session may reach the given `host:port`. */
export function mayReach(session: LiveSession, spiffeId: string, target: string): boolean {
  return session.targets.get(spiffeId)?.has(target) ?? false;
}

/** Creates an empty session directory. */
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
    /**
     * Applies an event. The event is trusted, because it has been parsed and has arrived over an authenticated channel.
     */
    apply,
    /**
     * Returns a principal's live session in constant time. Returns undefined if there is no session, if it has expired,
     * or if the directory is stale.
     */
    find,
    /**
     * Returns a session that was admitted and has not been closed. The session may no longer be live, which only `find`
     * checks.
     */
    byId: (id: string) => sessions.get(id),
    /**
     * Returns `empty` before the first snapshot, `stale` if new tunnels are refused, and `abandoned` if open tunnels
     * have been ended as well.
     */
    state,
    /** Returns the mesh's root certificates as PEM. */
    roots: () => roots,
    size: () => sessions.size,
    /** Checks for expiry and staleness immediately. A timer does the same every 250 milliseconds. */
    sweep,
    /** Returns how long ago the feed's last beat arrived, in milliseconds, or 0 before the first snapshot. */
    silentFor: () => (heardAt === undefined ? 0 : clock() - heardAt),
    /**
     * Registers a listener for changes to the directory.
     * @returns a function that removes the listener
     */
    listen(listener: SessionDirectoryListener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /** Stops the timer. The directory is stale from then on. */
    close() {
      closed = true;
      clearInterval(timer);
    },
  };

  function apply(event: EdgeEvent): void {
    // Only a snapshot ends the abandoned state, because events may have been missed.
    if (event.type !== 'snapshot' && (heardAt === undefined || abandoned)) return;
    // Other events do not prove that the broker is active. A broker that cannot tell whether another one has taken over
    // sends no beats.
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
    if (before) tell((listener) => listener.changed?.(session));
  }

  function remove(id: string, reason: string): void {
    const session = sessions.get(id);
    if (!session) return;
    sessions.delete(id);
    disown(session);
    tell((listener) => listener.closed?.(id, reason));
  }

  // The principal may already belong to a newer session, so only its current owner may release it.
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

/** Returns the time at which the session or its first grant expires, in Unix milliseconds. */
function endOf({ expiresAt, ends }: LiveSession): number {
  return Math.min(expiresAt, ...ends.values());
}

/** Returns the session without any principals whose grants have ended. */
function withoutEnded(session: LiveSession, now: number): LiveSession {
  const lives = ([spiffeId]: readonly [string, unknown]) => (session.ends.get(spiffeId) ?? now + 1) > now;
  const ends = new Map([...session.ends].filter(lives));
  return { ...session, targets: new Map([...session.targets].filter(lives)), ends };
}
