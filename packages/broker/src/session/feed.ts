/** What edges are told: the live sessions first, then every change at the moment it happens, and a beat. */
import type { AdmittedSession, EdgeEvent } from '@meshpass/identity';
import type { DrainingTunnels } from '@meshpass/identity/channel/edge-wire';
import { grantSet } from '@meshpass/identity/channel/statement';
import { KUBERNETES_API } from '@meshpass/identity/kubernetes/api';
import { type Clock, seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import type { LiveIndex } from './live.ts';
import type { Session } from './session.ts';

export type FeedListener = (event: EdgeEvent) => void;

/** What edges that serve control connections are told beside: the broker's own word to agents. */
export interface Announcer {
  /** A statement that a session is over. */
  readonly ended: (id: string, cause: CloseCause) => string;
  /** The configuration of a session, which it shares with all of its set of grants; undefined while there is none. */
  readonly configuration: (
    session: Session,
  ) => { readonly set: string; readonly digest: string; readonly statement: string } | undefined;
  /** @returns stops listening */
  readonly onConfiguration: (listener: () => void) => () => void;
}

export interface Subscription {
  /** Whether notices and configurations are wanted, too. */
  readonly control?: boolean;
  /** Whether it is to be told which tunnels other edges are about to end. */
  readonly draining?: boolean;
}

export interface Feed {
  /**
   * Calls the listener with a snapshot as soon as an access file is in force (a snapshot made before would tell edges
   * that nobody may reach anything), then with every event, in order. A listener must not block or throw.
   * @returns ends the subscription
   */
  readonly subscribe: (listener: FeedListener, subscription?: Subscription) => () => void;
  readonly admit: (session: Session) => void;
  readonly closed: (id: string, cause: CloseCause) => void;
  readonly roots: () => void;
  /** An edge is about to end tunnels of these sessions. It says so, and is not asked for proof: all that comes of it is other tunnels. */
  readonly draining: (sessions: readonly DrainingTunnels[]) => void;
  readonly stop: () => void;
}

const BEAT_MS = 2_000;
/** Notices that are signed before anything else is done: they follow what cuts, and must not delay it. */
const NOTICES_AT_ONCE = 20;

/**
 * @param isLeader whether this process is known, at this instant, to be the active broker: otherwise it does not beat, and edges
 * look for another one; what ends meanwhile they are told all the same
 */
export function createFeed(
  live: LiveIndex,
  mesh: MeshState,
  clock: Clock,
  isLeader: () => boolean,
  announcer?: Announcer,
): Feed {
  const listeners = new Set<FeedListener>();
  const control = new Set<FeedListener>();
  const hearDraining = new Set<FeedListener>();
  let notices: { readonly id: string; readonly cause: CloseCause }[] = [];
  let noticing: NodeJS.Immediate | undefined;
  const tellNotices = () => {
    const now = notices.splice(0, NOTICES_AT_ONCE);
    noticing = notices.length > 0 ? setImmediate(tellNotices) : undefined;
    for (const { id, cause } of now) {
      const statement = announcer!.ended(id, cause);
      for (const listener of control) listener({ type: 'notice', id, statement });
    }
  };
  /** The statement that was told of each set last. */
  const told = new Map<string, string>();
  const tellConfiguration = (session: Session) => {
    const found = announcer?.configuration(session);
    if (!found || told.get(found.set) === found.statement) return;
    const { set, digest, statement } = found;
    told.set(set, statement);
    for (const listener of control) listener({ type: 'configuration', set, digest, statement });
  };
  const unlisten = announcer?.onConfiguration(() => {
    for (const session of oneOfEachSet(live)) tellConfiguration(session);
  });
  const tell = (event: EdgeEvent) => {
    for (const listener of listeners) listener(event);
  };
  const beat = setInterval(() => {
    if (isLeader()) tell({ type: 'beat', at: seconds(clock) });
  }, BEAT_MS);
  beat.unref();
  return {
    subscribe: (listener, { control: wanted = false, draining = false } = {}) => {
      const begin = () => {
        const sessions = [...live.all()].filter((one) => !one.ended).map((one) => admitted(one.session, mesh));
        listener({ type: 'snapshot', sessions, roots: [...mesh.roots()] });
        listeners.add(listener);
        if (draining) hearDraining.add(listener);
        if (!wanted || !announcer) return;
        control.add(listener);
        for (const session of oneOfEachSet(live)) {
          const found = announcer.configuration(session);
          if (found)
            listener({ type: 'configuration', set: found.set, digest: found.digest, statement: found.statement });
        }
      };
      if (mesh.inForce()) begin();
      const unwatch = mesh.onChange(() => {
        if (mesh.inForce() && !listeners.has(listener)) begin();
      });
      return () => {
        unwatch();
        listeners.delete(listener);
        control.delete(listener);
        hearDraining.delete(listener);
      };
    },
    admit: (session) => {
      if (listeners.size > 0) tell({ type: 'admit', session: admitted(session, mesh) });
      if (control.size > 0) tellConfiguration(session);
    },
    closed: (id, cause) => {
      tell({ type: 'close', id, reason: CLOSED_BECAUSE[cause] });
      if (control.size === 0) return;
      notices.push({ id, cause });
      noticing ??= setImmediate(tellNotices);
    },
    roots: () => tell({ type: 'roots', roots: [...mesh.roots()] }),
    draining: (sessions) => {
      // Each once: one that lies would have other edges write to an agent as often as it names it.
      const known = new Map(
        sessions.filter(({ session_id }) => live.byId(session_id)).map((one) => [one.session_id, one]),
      );
      if (known.size === 0) return;
      for (const listener of hearDraining) listener({ type: 'draining', sessions: [...known.values()] });
    },
    stop: () => {
      clearInterval(beat);
      clearImmediate(noticing);
      notices = [];
      unlisten?.();
    },
  };
}

function admitted(session: Session, mesh: MeshState): AdmittedSession {
  const services = mesh.services(namesOf(session));
  const kubernetes = mesh.kubernetes();
  const until = new Map(session.grants.map((grant) => [grant.name, grant.until]));
  return {
    id: session.id,
    subject: session.attestation.subject,
    expires_at: session.expiresAt,
    principals: session.principals.map((principal) => ({
      spiffe_id: principal.spiffeId,
      targets: [
        ...services.filter(({ grant }) => grant === principal.grant).map(({ host, port }) => ({ host, port })),
        ...(kubernetes.has(principal.grant) ? [KUBERNETES_API] : []),
      ],
      until: until.get(principal.grant),
    })),
    set: grantSet(namesOf(session)),
  };
}

function namesOf(session: Session): readonly string[] {
  return session.grants.map((grant) => grant.name);
}

/** A live session of each set of grants. */
function oneOfEachSet(live: LiveIndex): Iterable<Session> {
  const sets = new Map<string, Session>();
  for (const { session, ended } of live.all()) if (!ended) sets.set(grantSet(namesOf(session)), session);
  return sets.values();
}
