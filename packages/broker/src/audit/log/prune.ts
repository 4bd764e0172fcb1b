/**
 * Retention. Rows from the beginning go, and a signed cut stays in their place: the hash of the last of them and the tree
 * over all of them, so that what is left verifies as before. The cut and the row that tells of it are written together;
 * the rows are deleted after that, in portions, and the store lets nothing else be deleted. What is younger than the retention that
 * the broker was started with stays, the row that tells of the pruning with it: who has the operators' token cannot erase what
 * they did with it.
 */
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { sql } from 'kysely';
import type { Clock } from '../../clock/clock.ts';
import type { Store } from '../../store/open.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { Commit } from './audited.ts';
import type { Chain } from './chain.ts';
import type { Draft } from './event.ts';
import { deletePruned, lastCut, treeAt } from './rows.ts';

export interface PruneContext {
  readonly store: Store;
  readonly chain: Chain;
  readonly key: AuditKey;
  readonly clock: Clock;
  /** Rows that are younger stay, whoever asks. */
  readonly retainSeconds: number;
}

export interface Pruned {
  /** Rows up to this one are gone. */
  readonly size: number;
  /** How many went this time. */
  readonly rows: number;
  /** The signed cut. */
  readonly note: string;
}

const LOOK = 50_000;

/**
 * @param before rows of this time and later stay, with all that follow the first of them
 * @throws MeshpassError `audit_retained` where rows of that date must be kept; `audit_tampered`, `request_malformed`,
 *   `store_unavailable`
 */
export async function prune(context: PruneContext, before: Date, draft: Draft, commit: Commit): Promise<Pruned> {
  const { store, chain, key, clock } = context;
  const { db } = store;
  draft.target = before.toISOString();
  draft.subject = 'an operator';
  if (before.getTime() > clock())
    throw new MeshpassError('request_malformed', 'The date until which rows are pruned must have passed.');
  if (!(before.getTime() <= clock() - context.retainSeconds * 1000))
    throw new MeshpassError(
      'audit_retained',
      `Rows are kept for ${context.retainSeconds / 86_400} days at the least; the broker's --audit-retention says so.`,
    );
  try {
    const cut = (await lastCut(db))?.start.size ?? 0;
    const head = (await chain.snapshot()).size;
    const size = await lastBefore(context, before, cut, head);
    draft.reason = 'An operator asked for it.';
    if (size <= cut) {
      draft.detail = { size: cut, rows: 0 };
      await commit();
      return { size: cut, rows: 0, note: (await lastCut(db))?.note ?? '' };
    }
    const at = await treeAt(db, size, key.verifiers);
    const problem = chain.problem() ?? at.problem;
    if (problem !== undefined)
      throw new MeshpassError('audit_tampered', `The audit log is not what was written: ${problem}.`);
    const root = at.tree.root();
    const note = key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: true }));
    draft.detail = { from: cut + 1, size, rows: size - cut, root, checkpoint: sha256Hex(note) };
    const peaks = JSON.stringify(at.tree.frontier().peaks);
    await commit({ cut: { size, hash: at.head.hash, peaks, note, time: new Date(clock()).toISOString() } });
    while ((await deletePruned(db)) > 0);
    if (store.kind === 'pglite') await sql`vacuum audit`.execute(db);
    return { size, rows: size - cut, note };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'The store does not answer now.', { cause, retryAfter: 2 });
  }
}

/** Edges tell of their decisions late, so times are not quite in the order of rows. */
async function lastBefore({ store }: PruneContext, before: Date, cut: number, head: number): Promise<number> {
  for (let at = cut; at < head; at += LOOK) {
    const row = await store.db
      .selectFrom('audit')
      .select('seq')
      .where('seq', '>', String(at))
      .where('seq', '<=', String(at + LOOK))
      .where('time', '>=', before)
      .orderBy('seq')
      .limit(1)
      .executeTakeFirst();
    if (row) return Number(row.seq) - 1;
  }
  return head;
}
