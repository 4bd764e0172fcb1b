/** Collects the changes of a request before they are written. */
import type { AnyStatement, Statement } from '../../store/index.ts';
import type { AuditRow } from './event.ts';

/** Identifies something that is accepted only once, such as a proof or a logout token. */
export interface ReplayKey {
  readonly key: string;
  /** When the proof expires, in RFC 3339 format. */
  readonly expiresAt: string;
}

/** Collects the changes of a request, which are then written atomically. */
export interface Tx {
  /** Adds rows to be written with the given statement. */
  readonly write: <Row>(statement: Statement<Row>, ...rows: readonly Row[]) => void;
  /** Adds audit rows. Rows that are already in the log are not written again. */
  readonly audit: (...rows: readonly AuditRow[]) => void;
  /**
   * Consumes a proof. A transaction can consume at most one proof, and is rejected with `proof_replayed` if the proof
   * has been used before.
   */
  readonly once: (proof: ReplayKey | undefined) => void;
}

/** A function that adds the changes of a request to a transaction. It is called synchronously, before any write. */
export type CollectChanges = (tx: Tx) => void;

/** The collected changes of a request. */
export interface Unit {
  readonly proof: ReplayKey | undefined;
  readonly writes: readonly (readonly [statement: AnyStatement, rows: readonly unknown[]])[];
  readonly audit: readonly AuditRow[];
}

/** Runs `record` and returns the changes that it collects. */
export function collectUnit(record: CollectChanges): Unit {
  const writes: [AnyStatement, readonly unknown[]][] = [];
  const audit: AuditRow[] = [];
  let proof: ReplayKey | undefined;
  record({
    write: (statement, ...rows) => {
      if (rows.length > 0) writes.push([statement, rows]);
    },
    audit: (...more) => void audit.push(...more),
    once: (used) => {
      proof = used ?? proof;
    },
  });
  return { proof, writes, audit };
}
