/**
 * The end of the log as the one process that writes it knows it: the last row, and the tree over all of them. It follows
 * what the store has made durable, and learns the rest from the store when that has gone on (or back) by itself.
 */
import type { Db } from '../../store/open.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { NoteVerifier } from '../checkpoint/note.ts';
import type { AuditRow } from './event.ts';
import { type SealedRow, seal } from './leaf.ts';
import { type Start, type TreeAt, treeAt } from './rows.ts';

export interface Chain {
  /** Gives rows their place after what is durable. @throws what the store throws, while it has not been read yet */
  readonly seal: (rows: readonly AuditRow[]) => Promise<readonly SealedRow[]>;
  /** To be told when rows are durable. */
  readonly grown: (rows: readonly SealedRow[]) => void;
  /** The store has another last row than we believed: looks at it again. */
  readonly reload: () => Promise<void>;
  /** The tree over what is durable. @throws what the store throws, while it has not been read yet */
  readonly snapshot: () => Promise<Start & { readonly root: string }>;
  /** Why nothing can be signed: the store does not hold what was written or signed before. */
  readonly problem: () => string | undefined;
}

export interface ChainOptions {
  /** Whose checkpoints are believed; without any the tree is grown from all rows. */
  readonly verifiers?: readonly NoteVerifier[];
  /** What was signed of it, as it is known outside of the store. */
  readonly known?: readonly Checkpoint[];
}

export function createChain(db: Db, { verifiers = [], known }: ChainOptions = {}): Chain {
  let at: TreeAt | undefined;
  let lost: string | undefined;
  const load = async () => {
    at = await treeAt(db, undefined, verifiers, known);
    return at;
  };
  return {
    seal: async (rows) => seal(rows, (at ?? (await load())).head),
    grown: (rows) => {
      if (!at) return;
      for (const row of rows) at.tree.append(row.hash);
      const last = rows.at(-1);
      if (last) at = { ...at, head: { seq: last.seq, hash: last.hash } };
    },
    reload: async () => {
      const before = at;
      const now = await load();
      if (!before || (await contains(db, now, before.head))) return;
      lost ??= `row ${before.head.seq} was written, but the store no longer has it`;
    },
    snapshot: async () => {
      const { tree, head } = at ?? (await load());
      return { ...tree.frontier(), root: tree.root(), hash: head.hash };
    },
    problem: () => lost ?? at?.problem,
  };
}

async function contains(db: Db, now: TreeAt, head: TreeAt['head']): Promise<boolean> {
  if (now.head.seq === head.seq) return now.head.hash === head.hash;
  const row = await db.selectFrom('audit').select('hash').where('seq', '=', String(head.seq)).executeTakeFirst();
  return head.seq === 0 || row?.hash === head.hash;
}
