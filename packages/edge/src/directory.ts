/**
 * Directory of live sessions and their targets: the edge's copy of the broker's sessions, updated by EdgeEvent. It
 * fails closed. A session is not live if it is unknown, if it has expired, or if the feed has been silent for too long.
 */
import type { AdmittedSession, EdgeEvent } from '@meshpass/identity';
import type { DrainingTunnels } from '@meshpass/identity/channel/edge-wire';

/**
 * Maximum silence of the feed before the directory is stale, ms. Equals the default lifetime of an SVID, so that a
 * missing broker ends no traffic before the credentials do. The broker sends a beat every 2 s.
 */
export const STALE_MS = 600_000;
/**
 * How long the edge keeps a grant after its end, ms. The broker removes or extends a grant within a second of its end.
 * Only a missing broker does neither in this time.
 */
const GRANT_GRACE_MS = 5_000;
/** How often expiry and staleness are checked, ms. */
const SWEEP_MS = 250;

export interface LiveSession {
  readonly id: string;
  /** Hard end, Unix ms. */
  readonly expiresAt: number;
  /** Targets of each principal (SPIFFE id), as `host:port`. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string>>;
  /** When each principal is dropped, Unix ms: the end of its grant, if the broker has sent it, plus GRANT_GRACE_MS. */
  readonly ends: ReadonlyMap<string, number>;
  /** Grant set, which selects the announced configuration. */
  readonly set: string | undefined;
}

export interface SessionDirectoryListener {
  /** The session has ended. Cut all its connections now. */
  closed?(sessionId: string, reason: string): void;
  /** The session continues but lost something: cut connections for which `mayReach` is now false. */
  narrowed?(session: LiveSession): void;
  /** The mesh's roots have changed. `removed` is true if at least one root is no longer trusted. */
  roots?(roots: readonly string[], removed: boolean): void;
  /** The broker sent a statement for a closed session's agent. */
  notice?(sessionId: string, statement: string): void;
  /** The broker announced a grant set's configuration. */
  configuration?(announced: { readonly set: string; readonly digest: string; readonly statement: string }): void;
  /** An edge is about to end tunnels of these sessions. */
  draining?(sessions: readonly DrainingTunnels[]): void;
}

export type SessionDirectory = ReturnType<typeof createSessionDirectory>;

export interface SessionDirectoryOptions {
  /** Unix ms. */
  readonly clock: () => number;
  /** Maximum silence before new tunnels are refused, ms. Defaults to STALE_MS. */
  readonly staleMs?: number;
  /** Maximum silence before open tunnels are ended, ms. Defaults to `staleMs`. */
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
    /** Applies an event. Events are trusted, because they arrive parsed over an authenticated channel. */
    apply,
    /**
     * Returns a principal's live session in constant time. Undefined if none exists, if it has expired, or if the
     * directory is stale.
     */
    find,
    /** Returns a session that was admitted and has not been closed. Only `find` checks whether it is live. */
    byId: (id: string) => sessions.get(id),
    /** `empty`: before the first snapshot. `stale`: no new tunnels open. `abandoned`: open tunnels have ended. */
    state,
    /** PEM of the mesh's roots. */
    roots: () => roots,
    size: () => sessions.size,
    /** Checks expiry and staleness now. A timer does the same every 250 ms. */
    sweep,
    /** Milliseconds since the feed's last beat, or 0 before the first snapshot. */
    silentFor: () => (heardAt === undefined ? 0 : clock() - heardAt),
    /**
     * Adds a listener.
     * @returns a function that removes it
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
    // Only a snapshot ends abandonment, because earlier events were missed.
    if (event.type !== 'snapshot' && (heardAt === undefined || abandoned)) return;
    // Other events are not a sign of life. A broker that cannot determine whether another broker has taken over sends
    // no beats.
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

  // A principal may already belong to a newer session, so only its current owner releases it.
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

/** Earliest expiry in a session, Unix ms. */
function endOf({ expiresAt, ends }: LiveSession): number {
  return Math.min(expiresAt, ...ends.values());
}

/** Removes the principals whose grants have ended. */
function withoutEnded(session: LiveSession, now: number): LiveSession {
  const lives = ([spiffeId]: readonly [string, unknown]) => (session.ends.get(spiffeId) ?? now + 1) > now;
  const ends = new Map([...session.ends].filter(lives));
  return { ...session, targets: new Map([...session.targets].filter(lives)), ends };
}
