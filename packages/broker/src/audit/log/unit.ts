/** Changes of one request, collected before they are written. */
import type { AnyStatement, Statement } from '../../store/index.ts';
import type { AuditRow } from './event.ts';

/** Identifies something that is accepted only once, such as a proof or a logout token. */
export interface ReplayKey {
  readonly key: string;
  /** RFC 3339. */
  readonly expiresAt: string;
}

/** Collects the changes of one request, which are written atomically. */
export interface Tx {
  /** Adds rows for a repository statement. */
  readonly write: <Row>(statement: Statement<Row>, ...rows: readonly Row[]) => void;
  /** Adds audit rows. A row that the log already has is not written again. */
  readonly audit: (...rows: readonly AuditRow[]) => void;
  /**
   * Uses up a replay key, at most one per transaction. Rejects the transaction with `proof_replayed` if the key was used
   * before.
   */
  readonly once: (proof: ReplayKey | undefined) => void;
}

/** Collects the changes of one request. Runs synchronously, before anything is written. */
export type CollectChanges = (tx: Tx) => void;

/** The collected changes of one request. */
export interface Unit {
  readonly proof: ReplayKey | undefined;
  readonly rows: ReadonlyMap<AnyStatement, readonly unknown[]>;
  readonly audit: readonly AuditRow[];
}

/** Runs `record` and returns the changes that it collects. */
export function collectUnit(record: CollectChanges): Unit {
  const rows = new Map<AnyStatement, unknown[]>();
  const audit: AuditRow[] = [];
  let proof: ReplayKey | undefined;
  record({
    write: (statement, ...more) => {
      if (more.length === 0) return;
      const all = rows.get(statement) ?? [];
      all.push(...more);
      rows.set(statement, all);
    },
    audit: (...more) => void audit.push(...more),
    once: (used) => {
      proof = used ?? proof;
    },
  });
  return { proof, rows, audit };
}
