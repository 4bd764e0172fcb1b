/**
 * Sessions that a restored store does not know: those that were opened after its backup. What it does not know it would not deny either,
 * and what was denied before would be let in again. So the mesh is asked which principals it has, for as long as an SVID of one may live.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { toMeshpassError } from '@meshpass/identity';
import { LONGEST_SVID_SECONDS } from '../audit/restore/accept-restore.ts';
import { type Clock, seconds } from '../clock/clock.ts';
import type { RevokedPrincipal, Revoker } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';

/** A cluster that does not answer is asked again: until it has, nobody can say who is to be denied. */
export interface Patience {
  readonly onFailure: (cause: unknown) => void;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
}

const RETRY_MS = 1_000;

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
  const found = await askPatiently(() => revoker.principals(), patience);
  return found.filter(({ spiffeId }) => !known.has(spiffeId)).map((one) => ({ ...one, until }));
}

async function askPatiently<T>(ask: () => Promise<T>, { onFailure, signal }: Patience): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (thrown) {
      if (toMeshpassError(thrown).code !== 'kubernetes_unavailable') throw thrown;
      onFailure(thrown);
      await pause(RETRY_MS, undefined, signal && { signal });
    }
  }
}
