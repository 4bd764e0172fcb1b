/**
 * Sessions that a restored store does not know: those that were opened after its backup. What it does not know it would not deny either,
 * and what was denied before would be let in again. So the mesh is asked which principals it has, for as long as an SVID of one may live.
 */
import { LONGEST_SVID_SECONDS } from '../audit/restore/accept-restore.ts';
import { type Clock, seconds } from '../clock/clock.ts';
import { type Patience, untilItAnswers } from '../kubernetes/until-it-answers.ts';
import type { RevokedPrincipal, Revoker } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';

/**
 * @returns principals of sessions that the declared restore lost; none where there was no restore lately
 * @throws AbortError where the signal ends the waiting
 */
export async function principalsOfLostSessions(
  { db }: Pick<Store, 'db'>,
  revoker: Pick<Revoker, 'principals'>,
  clock: Clock,
  patience: Patience,
): Promise<readonly RevokedPrincipal[]> {
  const last = await db
    .selectFrom('audit_restores')
    .select('time')
    .orderBy('epoch', 'desc')
    .limit(1)
    .executeTakeFirst();
  const until = last === undefined ? 0 : Math.ceil(last.time.getTime() / 1000) + LONGEST_SVID_SECONDS;
  if (until <= seconds(clock)) return [];
  const rows = await db.selectFrom('session_principals').select('spiffe_id').execute();
  const known = new Set(rows.map((row) => row.spiffe_id));
  const found = await untilItAnswers(() => revoker.principals(), patience);
  return found.filter(({ spiffeId }) => !known.has(spiffeId)).map((one) => ({ ...one, until }));
}
