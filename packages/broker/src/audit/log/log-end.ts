/**
 * Keeps the end of the log (the last row and the tree over all rows) in the memory of the process that writes to the
 * log. It is updated after each durable write, and reloaded if the store turns out to be ahead of it or behind it.
 */
import type { Db } from '../../store/index.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { NoteVerifier } from '../checkpoint/note.ts';
import { type SealedRow, seal } from './chain.ts';
import type { AuditRow } from './event.ts';
import { buildLogTree, type LogTree } from './rows.ts';

export type AuditChain = ReturnType<typeof createAuditChain>;

export interface AuditChainOptions {
  /** The keys whose checkpoints are trusted. If there are none, the tree is built from all rows. */
  readonly verifiers?: readonly NoteVerifier[];
  /** Known checkpoints from outside the store. */
  readonly known?: readonly Checkpoint[];
}

/** Creates the chain, which reads the store when it is first used. */
export function createAuditChain(db: Db, { verifiers = [], known }: AuditChainOptions = {}) {
  let at: LogTree | undefined;
  let lost: string | undefined;
  const load = async () => {
    at = await buildLogTree(db, undefined, verifiers, known);
    return at;
  };
  return {
    /**
     * Assigns positions to rows, continuing after the durable rows.
     * @throws store errors when the store is first read
     */
    seal: async (rows: readonly AuditRow[]) => seal(rows, (at ?? (await load())).head),
    /** Appends rows that have become durable. */
    grown: (rows: readonly SealedRow[]) => {
      if (!at) return;
      for (const row of rows) at.tree.append(row.hash);
      const last = rows.at(-1);
      if (last) at = { ...at, head: { seq: last.seq, hash: last.hash } };
    },
    /** Reloads the end of the log after the store has reported a different last row. */
    reload: async () => {
      const before = at;
      const now = await load();
      if (!before || (await contains(db, now, before.head))) return;
      lost ??= `row ${before.head.seq} was written, but is no longer in the store`;
    },
    /**
     * Returns the tree over the durable rows.
     * @throws store errors when the store is first read
     */
    snapshot: async () => {
      const { tree, head } = at ?? (await load());
      return { ...tree.state(), root: tree.root(), hash: head.hash };
    },
    /** Explains why nothing can be signed. This happens if the store lacks rows that were written or signed. */
    problem: () => lost ?? at?.problem,
  };
}

async function contains(db: Db, now: LogTree, head: LogTree['head']): Promise<boolean> {
  if (now.head.seq === head.seq) return now.head.hash === head.hash;
  const row = await db.selectFrom('audit').select('hash').where('seq', '=', String(head.seq)).executeTakeFirst();
  return head.seq === 0 || row?.hash === head.hash;
}
