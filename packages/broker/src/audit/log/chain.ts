/**
 * Canonical form and hash of an audit row. The canonical form is canonical JSON (RFC 8785) of all members except
 * `hash`. Each row contains the hash of the previous row, so the rows form a chain. The hash is also the row's leaf
 * hash in a Merkle tree (RFC 6962 section 2.1), so a checkpoint of the tree covers every row.
 */
import { hash as digest } from 'node:crypto';
import type { AuditRow } from './event.ts';

/** Row with its position in the log. */
export interface SealedRow extends AuditRow {
  /** Sequence number. The first row ever written has number 1, and numbers are never skipped or reused. */
  readonly seq: number;
  /** Hash of the previous row, hex; all zeros for the first row. */
  readonly previous: string;
  /** SHA-256 of a zero byte and the canonical JSON of the row without this member, hex. */
  readonly hash: string;
}

/** Value of `previous` in the first row. */
export const GENESIS_HASH = '0'.repeat(64);

/** Returns the hash of a row, hex. */
export function rowHash(row: Omit<SealedRow, 'hash'>): string {
  return digest('sha256', `\0${canonicalRow(row)}`, 'hex');
}

/**
 * Formats a row according to RFC 8785. A row contains only strings, nulls and one safe integer, so sorting its members
 * and calling JSON.stringify is enough. Members are listed explicitly, so that an additional member in an export is
 * never mistaken for hashed data.
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

/** Assigns sequence numbers and hashes to rows, continuing after the row `after`. */
export function seal(rows: readonly AuditRow[], after: { readonly seq: number; readonly hash: string }): SealedRow[] {
  let { seq, hash } = after;
  return rows.map((row) => {
    seq += 1;
    const placed = { ...row, seq, previous: hash };
    hash = rowHash(placed);
    return { ...placed, hash };
  });
}
