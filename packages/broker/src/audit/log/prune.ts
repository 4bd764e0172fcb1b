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
import type { Chain } from './chain.ts';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from './decision.ts';
import type { AuditEvent } from './event.ts';
import { deletePruned, lastCut, treeAt } from './rows.ts';

export interface PruneContext {
  readonly audit: AuditContext;
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
 * @returns refused with `audit_retained` where rows of that date must be kept; `audit_tampered`, `request_malformed`,
 *   `store_unavailable`
 */
export async function prune(context: PruneContext, before: Date, asked: AuditEvent): Promise<Outcome<Pruned>> {
  const { store, chain, key, clock } = context;
  const { db } = store;
  const event = { ...asked, target: before.toISOString() };
  const young = tooYoung(context, before);
  if (young) return refused(event, young);
  try {
    const last = await lastCut(db);
    const cut = last?.start.size ?? 0;
    const head = (await chain.snapshot()).size;
    const size = await lastBefore(context, before, cut, head);
    const reason = asked.reason ?? 'An operator asked for it.';
    if (size <= cut) {
      const nothing = await recordGrant(context.audit, {
        ...event,
        reason,
        detail: { ...event.detail, size: cut, rows: 0 },
      });
      return nothing.granted ? granted(event, { size: cut, rows: 0, note: last?.note ?? '' }) : nothing;
    }
    const at = await treeAt(db, size, key.verifiers);
    const problem = chain.problem() ?? at.problem;
    if (problem !== undefined) throw new MeshpassError('audit_tampered', `The audit log was altered: ${problem}.`);
    const root = at.tree.root();
    const note = key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: true }));
    const detail = { ...event.detail, from: cut + 1, size, rows: size - cut, root, checkpoint: sha256Hex(note) };
    const peaks = JSON.stringify(at.tree.frontier().peaks);
    const written = await recordGrant(
      context.audit,
      { ...event, reason, detail },
      { cut: { size, hash: at.head.hash, peaks, note, time: new Date(clock()).toISOString() } },
    );
    if (!written.granted) return written;
    const failure = await deleteRows(store);
    return failure ? refused(event, failure) : granted(event, { size, rows: size - cut, note });
  } catch (thrown) {
    return refused(event, thrown instanceof MeshpassError ? thrown : unavailable(thrown));
  }
}

/** @returns why not all of them are gone; the next pruning, or the next start, deletes the rest */
async function deleteRows({ db, kind }: Store): Promise<MeshpassError | undefined> {
  try {
    while ((await deletePruned(db)) > 0);
    if (kind === 'pglite') await sql`vacuum audit`.execute(db);
    return undefined;
  } catch (thrown) {
    return thrown instanceof MeshpassError ? thrown : unavailable(thrown);
  }
}

function unavailable(cause: unknown): MeshpassError {
  return new MeshpassError('store_unavailable', 'The store does not answer.', { cause, retryAfter: 2 });
}

function tooYoung({ clock, retainSeconds }: PruneContext, before: Date): MeshpassError | undefined {
  if (before.getTime() > clock())
    return new MeshpassError('request_malformed', 'The date up to which rows are pruned must be in the past.');
  if (before.getTime() <= clock() - retainSeconds * 1000) return undefined;
  return new MeshpassError(
    'audit_retained',
    `Rows are kept for ${retainSeconds / 86_400} days at least (--audit-retention of the broker).`,
  );
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
