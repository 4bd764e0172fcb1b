/** Routes for drills: one returns the store's record of an ended session, the other signs the drill report. */

import { MeshpassError } from '@meshpass/identity';
import { DrillReport, EVIDENCE_TYPE, type RecordedSession } from '@meshpass/identity/drill-report';
import { annotateEvent, recordAllowed } from '../../audit/index.ts';
import { queryStore } from '../../store/index.ts';
import { nameOf } from '../operator/caller.ts';
import type { AuthorizedRoute } from '../operator/operator-route.ts';
import type { AdminContext } from '../process.ts';

type Context = Pick<AdminContext, 'on' | 'audit' | 'clock' | 'signer' | 'publicUrl' | 'store' | 'sessions'>;

/** Returns `GET /admin/drill/sessions/ID` and `POST /admin/drill/evidence`. */
export function drillRoutes(context: Context): readonly AuthorizedRoute[] {
  const { on } = context;
  return [
    on('GET /admin/drill/sessions/:id', { does: 'drill.session', action: 'operator.drill' }, ({ params }) =>
      recorded(context, params.id ?? ''),
    ),
    on(
      'POST /admin/drill/evidence',
      // Only reports that match this schema are signed, and the JWT type is one that no verifier accepts as a token.
      { does: 'drill.evidence', action: 'operator.drill', schema: DrillReport },
      async ({ event, body: drill, caller }) => {
        const session = await recorded(context, drill.session.id);
        const signedAt = new Date(context.clock()).toISOString();
        const witness = { broker: context.publicUrl, signed_at: signedAt, session };
        const evidence = await context.signer.sign({ drill, witness }, EVIDENCE_TYPE);
        const reason = `${nameOf(caller)} requested a signed drill report.`;
        annotateEvent(event, { sessionId: session.id, reason });
        await recordAllowed(context.audit, event);
        return { evidence };
      },
    ),
  ];
}

async function recorded({ store: { db }, sessions }: Context, id: string): Promise<RecordedSession> {
  const [session, principals] = await queryStore(
    Promise.all([
      db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst(),
      db.selectFrom('session_principals').selectAll().where('session_id', '=', id).execute(),
    ]),
  );
  if (!session) throw new MeshpassError('not_found', 'The store has no session with this ID.');
  return {
    id: session.id,
    opened_at: session.opened_at.toISOString(),
    closed_at: session.closed_at?.toISOString() ?? null,
    close_cause: session.close_cause,
    principals: principals.map(({ spiffe_id, namespace, last_not_after, revoke_cause }) => ({
      spiffe_id,
      namespace,
      last_not_after: last_not_after?.toISOString() ?? null,
      denied: sessions.denies(revoke_cause ?? session.close_cause ?? undefined),
    })),
  };
}
