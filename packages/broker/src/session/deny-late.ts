/**
 * An operator denies in the mesh what ended before and was not denied then (deny-ended.ts): somebody who has a session's keys may
 * have said goodbye with them.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Clock } from '../clock/clock.ts';
import type { CloseCause } from '../store/close-causes.ts';
import type { Store } from '../store/open.ts';
import type { Denies } from './deny-ended.ts';
import { stillRevoked } from './restore.ts';
import type { Revocations } from './revocations.ts';

export interface DenyLateContext {
  readonly store: Store;
  readonly revocations: Revocations;
  readonly denies: Denies;
  /** Life of identity tokens. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
}

/** What the store says of a principal that was denied late; the broker after this one denies it by that. */
const CAUSE: CloseCause = 'operator';

/**
 * @returns whether the session is over and had something that may still be valid and was not denied; the store has it then
 * @throws MeshpassError `store_unavailable`
 */
export async function denyLate(context: DenyLateContext, sessionId: string): Promise<boolean> {
  const { store, revocations, denies, tokenSeconds, clock } = context;
  try {
    const over = await stillRevoked(store, clock, tokenSeconds, denies, sessionId);
    const undenied = over.filter((one) => one.undenied);
    if (undenied.length === 0) return false;
    const ids = JSON.stringify(undenied.map(({ spiffeId }) => spiffeId));
    await sql`
      update session_principals set revoke_cause = ${CAUSE}
      where session_id = ${sessionId} and spiffe_id in (select jsonb_array_elements_text(${ids}::jsonb))
      and exists (select from broker_epoch where epoch = ${store.epoch})`.execute(store.db);
    revocations.add(undenied.map((one) => ({ ...one, undenied: !denies(CAUSE) })));
    return true;
  } catch (cause) {
    throw new MeshpassError('store_unavailable', 'The store does not answer.', { cause, retryAfter: 2 });
  }
}
