/**
 * Who is live and may go where: the edge's copy of the broker's sessions, fed by EdgeEvent. It fails closed: what it has
 * not been told, what has expired by the clock, and everything once the feed has been silent too long, is not live.
 */
import type { AdmittedSession, EdgeEvent } from '@meshpass/identity';
import type { DrainingTunnels } from '@meshpass/identity/channel/edge-wire';

/**
 * Silence of the feed after which nothing is believed any more, ms: as long as an SVID lives by default, so that a broker
 * that is away ends no traffic before the credentials do. The broker beats every 2 s.
 */
export const STALE_MS = 600_000;
/**
 * The broker takes a grant away within a second of its end, and may prolong it then. Only of a broker that is away is nothing heard
 * in this time, ms.
 */
const GRANT_GRACE_MS = 5_000;
/** How often the clock is looked at for expiry and staleness, ms. */
const SWEEP_MS = 250;

export interface LiveSession {
  readonly id: string;
  readonly subject: string;
  /** Hard end, Unix ms. */
  readonly expiresAt: number;
  /** Principal (SPIFFE id) to its targets, each `host:port`. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string>>;
  /** Principal to when it is given up, Unix ms: the end of its grant, where the broker has told it, and GRANT_GRACE_MS. */
  readonly ends: ReadonlyMap<string, number>;
  /** Its set of grants, by which configurations are announced. */
  readonly set: string | undefined;
}

export interface DirectoryListener {
  /** The session is over: cut everything it has, now. */
  closed?(sessionId: string, reason: string): void;
  /** The session lives on but lost something: cut what `mayReach` no longer says. */
  narrowed?(session: LiveSession): void;
  /** The mesh's roots are others now. `removed`: at least one is trusted no more. */
  roots?(roots: readonly string[], removed: boolean): void;
  /** The broker's statement for the agent of a session that was closed. */
  notice?(sessionId: string, statement: string): void;
  /** The configuration of the sessions of a set of grants. */
  configuration?(announced: { readonly set: string; readonly digest: string; readonly statement: string }): void;
  /** An edge is about to end tunnels of these sessions. */
  draining?(sessions: readonly DrainingTunnels[]): void;
}

export interface Directory {
  /** Takes one event in. Events are trusted: they come over an authenticated channel, parsed. */
  apply(event: EdgeEvent): void;
  /** The live session that owns a principal. undefined: none, expired, or the directory is stale. O(1). */
  find(spiffeId: string): LiveSession | undefined;
  /** A session that was admitted and not closed; whether it is live is for `find` to say. */
  byId(sessionId: string): LiveSession | undefined;
  /** `empty` before the first snapshot; `stale` refuses new tunnels; `abandoned` has ended the open ones. */
  state(): 'empty' | 'fresh' | 'stale' | 'abandoned';
  /** PEM of the roots of the mesh. */
  roots(): readonly string[];
  size(): number;
  /** Compares everything with the clock, as a timer does by itself every 250 ms. */
  sweep(): void;
  /** How long the feed has said nothing, ms. 0 before the first snapshot. */
  silentFor(): number;
  /** @returns stops listening */
  listen(listener: DirectoryListener): () => void;
  /** Stops the timer. The directory is stale from now on. */
  close(): void;
}

export interface DirectoryOptions {
  /** Unix ms. */
  readonly clock: () => number;
  /** Silence after which no new tunnel opens. Default: STALE_MS. */
  readonly staleMs?: number;
  /** Silence after which open tunnels end too. Default: the same. */
  readonly abandonMs?: number;
}

/** Whether a principal of a session may reach `host:port`. */
export function mayReach(session: LiveSession, spiffeId: string, target: string): boolean {
  return session.targets.get(spiffeId)?.has(target) ?? false;
}

export function createDirectory(options: DirectoryOptions): Directory {
  const { clock, staleMs = STALE_MS, abandonMs = staleMs } = options;
  const sessions = new Map<string, LiveSession>();
  const owners = new Map<string, LiveSession>();
  const listeners = new Set<DirectoryListener>();
  let roots: readonly string[] = [];
  let heardAt: number | undefined;
  let abandoned = false;
  let closed = false;
  let nextExpiry = Number.POSITIVE_INFINITY;

  const timer = setInterval(sweep, SWEEP_MS);
  timer.unref();
  return {
    apply,
    find,
    byId: (id) => sessions.get(id),
    state,
    roots: () => roots,
    size: () => sessions.size,
    sweep,
    silentFor: () => (heardAt === undefined ? 0 : clock() - heardAt),
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closed = true;
      clearInterval(timer);
    },
  };

  function apply(event: EdgeEvent): void {
    // Only a snapshot ends silence after abandonment: what happened in between is unknown.
    if (event.type !== 'snapshot' && (heardAt === undefined || abandoned)) return;
    // Nothing else counts as having heard of the broker: one that cannot tell whether another has taken over does not beat.
    if (event.type === 'snapshot' || event.type === 'beat') heardAt = clock();
    switch (event.type) {
      case 'snapshot': {
        abandoned = false;
        setRoots(event.roots);
        const kept = new Set(event.sessions.map((session) => session.id));
        for (const id of [...sessions.keys()]) if (!kept.has(id)) remove(id, 'the broker no longer knows the session');
        for (const session of event.sessions) admit(session);
        return;
      }
      case 'admit':
        admit(event.session);
        return;
      case 'close':
        remove(event.id, event.reason);
        return;
      case 'roots':
        setRoots(event.roots);
        return;
      case 'beat':
        return;
      case 'notice':
        for (const listener of listeners) listener.notice?.(event.id, event.statement);
        return;
      case 'configuration':
        for (const listener of listeners) listener.configuration?.(event);
        return;
      case 'draining':
        for (const listener of listeners) listener.draining?.(event.sessions);
        return;
    }
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
      subject: admitted.subject,
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
    if (before) for (const listener of listeners) listener.narrowed?.(session);
  }

  function remove(id: string, reason: string): void {
    const session = sessions.get(id);
    if (!session) return;
    sessions.delete(id);
    disown(session);
    for (const listener of listeners) listener.closed?.(id, reason);
  }

  // A principal may already belong to a newer session: only its present owner lets go of it.
  function disown(session: LiveSession): void {
    for (const spiffeId of session.targets.keys()) if (owners.get(spiffeId) === session) owners.delete(spiffeId);
  }

  function setRoots(next: readonly string[]): void {
    const removed = roots.some((root) => !next.includes(root));
    if (!removed && next.length === roots.length) return;
    roots = [...next];
    for (const listener of listeners) listener.roots?.(roots, removed);
  }

  function sweep(): void {
    const now = clock();
    if (heardAt !== undefined && !abandoned && now - heardAt > abandonMs) {
      abandoned = true;
      for (const id of [...sessions.keys()]) remove(id, 'the broker has been silent for too long');
    }
    if (now < nextExpiry) return;
    nextExpiry = Number.POSITIVE_INFINITY;
    for (const session of [...sessions.values()]) {
      if (session.expiresAt <= now) remove(session.id, 'the session has expired');
      else if (endOf(session) <= now) replace(withoutEnded(session, now));
      else nextExpiry = Math.min(nextExpiry, endOf(session));
    }
  }
}

/** When something of it ends by itself. */
function endOf({ expiresAt, ends }: LiveSession): number {
  return Math.min(expiresAt, ...ends.values());
}

/** The session without the principals whose grants have ended. */
function withoutEnded(session: LiveSession, now: number): LiveSession {
  const lives = ([spiffeId]: readonly [string, unknown]) => (session.ends.get(spiffeId) ?? now + 1) > now;
  const ends = new Map([...session.ends].filter(lives));
  return { ...session, targets: new Map([...session.targets].filter(lives)), ends };
}
