/** `POST /leases` for agents. The lease proof is the only credential. Edges send theirs to routes/edge.ts. */
import { LeaseRequest, MAX_LEASE_PROOF } from '@meshpass/identity/channel/index';
import { granted } from '../../audit/index.ts';
import { type Connections, type Route, route } from '../../http/index.ts';
import type { ControlChannel } from '../channel/control.ts';
import type { LiveIndex } from '../session/live.ts';

export interface LeaseRoutesContext {
  readonly control: Pick<ControlChannel, 'renewOne'>;
  readonly liveSessions: Pick<LiveIndex, 'byId'>;
  readonly connections: Pick<Connections, 'belongs'>;
}

/** Maximum body, bytes. It is read before the proof that it contains can be verified. */
const MAX_BODY = MAX_LEASE_PROOF * 2 + 256;

/** Returns the route that agents renew their leases with. */
export function leaseRoutes({ control, liveSessions, connections }: LeaseRoutesContext): readonly Route[] {
  return [
    route({
      method: 'POST',
      path: '/leases',
      action: 'session.heartbeat',
      accepts: ({ headers }) => headers.authorization === undefined,
      authentication: ({ event }) => granted(event, undefined),
      schema: LeaseRequest.extend({ leases: LeaseRequest.shape.leases.max(1) }),
      limit: MAX_BODY,
      // A renewed lease decides nothing and leaves no audit row. A refused one does.
      handler: async ({ body, event, request }) => {
        const lease = body.leases[0]!;
        const renewed = control.renewOne(lease, event);
        if (!renewed.granted) return renewed;
        if (liveSessions.byId(lease.session_id)) connections.belongs(request.socket, lease.session_id);
        return granted(event, { answers: [{ session_id: lease.session_id, statement: renewed.value }] });
      },
    }),
  ];
}
