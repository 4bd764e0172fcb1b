/**
 * Streams events to the edges: first a snapshot of the live sessions, then every change as it happens, along with
 * regular heartbeats.
 */

import { KUBERNETES_API } from '@meshpass/identity';
import { type AdmittedSession, type DrainingTunnels, type EdgeEvent, grantSet } from '@meshpass/identity/channel';
import { type Clock, toUnixSeconds } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import type { ControlChannel } from '../channel/control.ts';
import type { LiveIndex } from './live.ts';
import { grantsOf, type Session, sessionExpiry } from './session.ts';

/** Receives the events of a subscription in order. Listeners must not block or throw. */
export type FeedListener = (event: EdgeEvent) => void;

export interface Subscription {
  /** Whether to include notices and configurations for agents. */
  readonly control?: boolean;
  /** Whether to include announcements about tunnels that other edges are about to close. */
  readonly draining?: boolean;
}

export type Feed = ReturnType<typeof createFeed>;

const BEAT_MS = 2_000;
/**
 * The number of notices to sign before yielding to other work. Events that revoke access are sent before the notices,
 * and must not be delayed by signing.
 */
const NOTICES_AT_ONCE = 20;

/**
 * Creates the event feed for the edges.
 * @param statements the source of the signed statements that the broker sends to agents. Edges that have control
 *   connections deliver them.
 * @param isLeader returns whether this process is known to be the active broker. If it is not, the feed stops sending
 *   heartbeats, so that the edges try another broker, but it still reports sessions that have ended.
 */
export function createFeed(
  live: LiveIndex,
  mesh: MeshState,
  clock: Clock,
  isLeader: () => boolean,
  statements: Pick<ControlChannel, 'ended' | 'announced' | 'onConfiguration'>,
) {
  const listeners = new Map<FeedListener, Subscription>();
  const tell = (event: EdgeEvent, only?: keyof Subscription) => {
    for (const [listener, wanted] of listeners) if (only === undefined || wanted[only]) listener(event);
  };
  const hasControl = () => [...listeners.values()].some(({ control }) => control);
  let notices: { readonly id: string; readonly cause: CloseCause }[] = [];
  let noticing: NodeJS.Immediate | undefined;
  const tellNotices = () => {
    const now = notices.splice(0, NOTICES_AT_ONCE);
    noticing = notices.length > 0 ? setImmediate(tellNotices) : undefined;
    for (const { id, cause } of now) tell({ type: 'notice', id, statement: statements.ended(id, cause) }, 'control');
  };
  /** The last configuration statement that was sent for each grant set. */
  const told = new Map<string, string>();
  const configurationOf = (session: Session): Extract<EdgeEvent, { type: 'configuration' }> | undefined => {
    const found = statements.announced(session);
    return found && { type: 'configuration', set: found.set, digest: found.digest, statement: found.statement };
  };
  const tellConfiguration = (session: Session) => {
    const event = configurationOf(session);
    if (!event || told.get(event.set) === event.statement) return;
    told.set(event.set, event.statement);
    tell(event, 'control');
  };
  const unlisten = statements.onConfiguration(() => {
    for (const session of oneOfEachSet(live)) tellConfiguration(session);
  });
  const beat = setInterval(() => {
    if (isLeader()) tell({ type: 'beat', at: toUnixSeconds(clock) });
  }, BEAT_MS);
  beat.unref();
  return {
    /**
     * Subscribes a listener. As soon as an access file is in effect, the listener receives a snapshot and then every
     * event in order. Without an access file, the snapshot would tell the edges that no session has access.
     * @returns a function that cancels the subscription
     */
    subscribe: (listener: FeedListener, wanted: Subscription = {}) => {
      const begin = () => {
        const sessions = [...live.all()].filter((one) => !one.ended).map((one) => admitted(one.session, mesh));
        listener({ type: 'snapshot', sessions, roots: [...mesh.roots()] });
        listeners.set(listener, wanted);
        if (!wanted.control) return;
        for (const session of oneOfEachSet(live)) {
          const event = configurationOf(session);
          if (event) listener(event);
        }
      };
      if (mesh.inForce()) begin();
      const unwatch = mesh.onChange(() => {
        if (mesh.inForce() && !listeners.has(listener)) begin();
      });
      return () => {
        unwatch();
        listeners.delete(listener);
      };
    },
    admit: (session: Session) => {
      if (listeners.size > 0) tell({ type: 'admit', session: admitted(session, mesh) });
      if (hasControl()) tellConfiguration(session);
    },
    closed: (id: string, cause: CloseCause) => {
      tell({ type: 'close', id, reason: CLOSE_EXPLANATIONS[cause] });
      if (!hasControl()) return;
      notices.push({ id, cause });
      noticing ??= setImmediate(tellNotices);
    },
    roots: () => tell({ type: 'roots', roots: [...mesh.roots()] }),
    /**
     * Forwards an edge's announcement that it is about to close the tunnels of these sessions. No proof is needed,
     * because the announcement only causes agents to open other tunnels.
     */
    draining: (sessions: readonly DrainingTunnels[]) => {
      // Include each session only once. Otherwise, a malicious edge could make other edges flood an agent with
      // messages.
      const known = new Map(
        sessions.filter(({ session_id }) => live.byId(session_id)).map((one) => [one.session_id, one]),
      );
      if (known.size === 0) return;
      tell({ type: 'draining', sessions: [...known.values()] }, 'draining');
    },
    stop: () => {
      clearInterval(beat);
      clearImmediate(noticing);
      notices = [];
      unlisten();
    },
  };
}

function admitted(session: Session, mesh: MeshState): AdmittedSession {
  const services = mesh.services(grantsOf(session));
  const kubernetes = mesh.kubernetes();
  return {
    id: session.id,
    expires_at: sessionExpiry(session),
    principals: session.principals.map((principal) => ({
      spiffe_id: principal.spiffeId,
      targets: [
        ...services.filter(({ grant }) => grant === principal.grant).map(({ host, port }) => ({ host, port })),
        ...(kubernetes.has(principal.grant) ? [KUBERNETES_API] : []),
      ],
      until: principal.until,
    })),
    set: grantSet(grantsOf(session)),
  };
}

/** Returns one live session for each distinct grant set. */
function oneOfEachSet(live: LiveIndex): Iterable<Session> {
  const sets = new Map<string, Session>();
  for (const { session, ended } of live.all()) if (!ended) sets.set(grantSet(grantsOf(session)), session);
  return sets.values();
}
