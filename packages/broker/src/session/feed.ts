/** What edges are told: the live sessions first, then every change at the moment it happens, and a beat. */
import type { AdmittedSession, EdgeEvent } from '@meshpass/identity';
import { type Clock, seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { LiveIndex } from './live.ts';
import type { Session } from './session.ts';

export type FeedListener = (event: EdgeEvent) => void;

export interface Feed {
  /**
   * Calls the listener with a snapshot as soon as an access file is in force (a snapshot made before would tell edges
   * that nobody may reach anything), then with every event, in order. A listener must not block or throw.
   * @returns ends the subscription
   */
  readonly subscribe: (listener: FeedListener) => () => void;
  readonly admit: (session: Session) => void;
  readonly closed: (id: string, reason: string) => void;
  readonly roots: () => void;
  readonly stop: () => void;
}

const BEAT_MS = 2_000;

/**
 * @param isLeader whether this process is known, at this instant, to be the active broker: otherwise it does not beat, and edges
 * look for another one; what ends meanwhile they are told all the same
 */
export function createFeed(live: LiveIndex, mesh: MeshState, clock: Clock, isLeader: () => boolean): Feed {
  const listeners = new Set<FeedListener>();
  const tell = (event: EdgeEvent) => {
    for (const listener of listeners) listener(event);
  };
  const beat = setInterval(() => {
    if (isLeader()) tell({ type: 'beat', at: seconds(clock) });
  }, BEAT_MS);
  beat.unref();
  return {
    subscribe: (listener) => {
      const begin = () => {
        const sessions = [...live.all()].filter((one) => !one.ended).map((one) => admitted(one.session, mesh));
        listener({ type: 'snapshot', sessions, roots: [...mesh.roots()] });
        listeners.add(listener);
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
    admit: (session) => {
      if (listeners.size > 0) tell({ type: 'admit', session: admitted(session, mesh) });
    },
    closed: (id, reason) => tell({ type: 'close', id, reason }),
    roots: () => tell({ type: 'roots', roots: [...mesh.roots()] }),
    stop: () => clearInterval(beat),
  };
}

function admitted(session: Session, mesh: MeshState): AdmittedSession {
  const services = mesh.services(session.grants.map((grant) => grant.name));
  return {
    id: session.id,
    subject: session.attestation.subject,
    expires_at: session.expiresAt,
    principals: session.principals.map((principal) => ({
      spiffe_id: principal.spiffeId,
      targets: services
        .filter((service) => service.grant === principal.grant)
        .map(({ host, port }) => ({ host, port })),
    })),
  };
}
