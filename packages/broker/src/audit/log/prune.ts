/**
 * Prunes the log by deleting the oldest rows and replacing them with a signed cut. The cut contains the hash of the
 * last deleted row and the tree over all deleted rows, so the remaining rows can still be verified. The cut is written
 * together with the row that records it. The old rows are then deleted in batches, and the store prevents any other
 * deletion. Rows younger than the broker's configured retention are kept. This includes the row that records the
 * pruning, so an operator who prunes the log cannot erase their own traces.
 */
import { MeshpassError, sha256Hex } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Clock } from '../../base/index.ts';
import type { Store } from '../../store/index.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import { type AuditContext, recordAllowed } from './decision.ts';
import { type AuditEvent, annotateEvent } from './event.ts';
import type { AuditChain } from './log-end.ts';
import { buildLogTree, deletePruned, lastCut } from './rows.ts';
import { ADD_CUTS } from './statements.ts';

export interface PruneContext {
  readonly audit: AuditContext;
  readonly store: Store;
  readonly chain: AuditChain;
  readonly key: AuditKey;
  readonly clock: Clock;
  /** How long rows must be kept before they can be pruned, in seconds. */
  readonly retainSeconds: number;
}

export interface PruneResult {
  /** The sequence number of the last row that has been pruned, by this call or an earlier one. */
  readonly size: number;
  /** How many rows this call pruned. */
  readonly rows: number;
  /** The cut in the format of a signed note. Empty if the log has never been pruned. */
  readonly note: string;
}

const LOOK = 50_000;

/**
 * Prunes all rows that were written before a point in time.
 * @param before the first row from this time or later is kept, and so are all rows after it
 * @throws MeshpassError `audit_retained` if rows from that date must still be kept, `request_malformed` if the date is
 *   in the future, `audit_tampered`, `overloaded`; errors from the store
 */
export async function prune(context: PruneContext, before: Date, event: AuditEvent): Promise<PruneResult> {
  annotateEvent(event, { target: before.toISOString(), reason: event.reason ?? 'Requested by an operator.' });
  const { store, chain, key, clock } = context;
  const { db } = store;
  refuseYoung(context, before);
  const last = await lastCut(db);
  const cut = last?.start.size ?? 0;
  const head = (await chain.snapshot()).size;
  const size = await lastBefore(context, before, cut, head);
  if (size <= cut) {
    annotateEvent(event, { detail: { size: cut, rows: 0 } });
    await recordAllowed(context.audit, event);
    return { size: cut, rows: 0, note: last?.note ?? '' };
  }
  const at = await buildLogTree(db, size, key.verifiers);
  const problem = chain.problem() ?? at.problem;
  if (problem !== undefined) throw new MeshpassError('audit_tampered', `The audit log was altered: ${problem}.`);
  const root = at.tree.root();
  const note = key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: true }));
  annotateEvent(event, { detail: { from: cut + 1, size, rows: size - cut, root, checkpoint: sha256Hex(note) } });
  const { peaks, hash } = at.tree.state();
  await recordAllowed(context.audit, event, (tx) =>
    tx.write(ADD_CUTS, {
      size: String(size),
      hash,
      peaks: JSON.stringify(peaks),
      note,
      time: new Date(clock()),
    }),
  );
  // If this fails, the next pruning or the next start deletes the remaining rows.
  while ((await deletePruned(db)) > 0);
  if (store.kind === 'pglite') await sql`vacuum audit`.execute(db);
  return { size, rows: size - cut, note };
}

function refuseYoung({ clock, retainSeconds }: PruneContext, before: Date): void {
  if (before.getTime() > clock()) throw new MeshpassError('request_malformed', 'The prune date must be in the past.');
  if (before.getTime() > clock() - retainSeconds * 1000)
    throw new MeshpassError(
      'audit_retained',
      `Rows are kept for at least ${retainSeconds / 86_400} days (the broker's --audit-retention).`,
    );
}

/**
 * Finds the row just before the first one from this time or later. Rows are not strictly ordered by time, because edges
 * report decisions with a delay.
 */
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
