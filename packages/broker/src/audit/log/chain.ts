/**
 * Defines the canonical form and the hash of an audit row. The canonical form is the canonical JSON (RFC 8785) of all
 * members except `hash`. Every row contains the hash of the previous row, so the rows form a chain. The hash is also
 * the leaf hash of the row in a Merkle tree (RFC 6962 section 2.1), so a checkpoint of the tree covers every row.
 */
import { hash as digest } from 'node:crypto';
import type { AuditRow } from './event.ts';

/** A row together with its position in the log. */
export interface SealedRow extends AuditRow {
  /**
   * The sequence number. Numbering starts at 1 with the first row ever written, and numbers are never skipped or
   * reused.
   */
  readonly seq: number;
  /** The hash of the previous row, in hex. All zeros for the first row. */
  readonly previous: string;
  /** The SHA-256 hash, in hex, of a zero byte followed by the canonical JSON of the row without this member. */
  readonly hash: string;
}

/** The value of `previous` in the first row. */
export const GENESIS_HASH = '0'.repeat(64);

/** Returns the hash of a row, in hex. */
export function rowHash(row: Omit<SealedRow, 'hash'>): string {
  return digest('sha256', `\0${canonicalRow(row)}`, 'hex');
}

/**
 * Formats a row according to RFC 8785. A row only contains strings, nulls and one safe integer, so sorting its members
 * and calling `JSON.stringify` is enough. The members are listed explicitly, so that an additional member in an export
 * is never mistaken for hashed data.
 */
function canonicalRow(row: Omit<SealedRow, 'hash'>): string {
  return JSON.stringify({
    action: row.action,
    code: row.code,
    detail: row.detail,
    grant_name: row.grant_name,
    id: row.id,
    issuer: row.issuer,
    login: row.login,
    outcome: row.outcome,
    previous: row.previous,
    proof_hash: row.proof_hash,
    reason: row.reason,
    request_id: row.request_id,
    rule: row.rule,
    seq: row.seq,
    session_id: row.session_id,
    source: row.source,
    subject: row.subject,
    target: row.target,
    time: row.time,
    workspace: row.workspace,
  });
}

/** Parses a row's details. Returns an empty object if they were truncated, because truncated JSON is invalid. */
export function parseDetail({ detail }: Pick<AuditRow, 'detail'>): Readonly<Record<string, unknown>> {
  try {
    return { ...JSON.parse(detail ?? '{}') };
  } catch {
    return {};
  }
}

/** Assigns sequence numbers and hashes to rows, continuing from the row `after`. */
export function seal(rows: readonly AuditRow[], after: { readonly seq: number; readonly hash: string }): SealedRow[] {
  let { seq, hash } = after;
  return rows.map((row) => {
    seq += 1;
    const placed = { ...row, seq, previous: hash };
    hash = rowHash(placed);
    return { ...placed, hash };
  });
}
