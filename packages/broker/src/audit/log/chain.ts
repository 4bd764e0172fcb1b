/**
 * Canonical form and hash of an audit row: canonical JSON (RFC 8785) of all members but `hash`. A row contains the hash
 * of the previous one, which makes the rows a chain. The hash is also the hash of a Merkle tree leaf (RFC 6962 section
 * 2.1), so a checkpoint of the tree covers every row.
 */
import { hash as digest } from 'node:crypto';
import type { AuditRow } from './event.ts';

/** Row with its position in the log. */
export interface SealedRow extends AuditRow {
  /** Sequence number. The first row ever written has 1; no number is skipped or reused. */
  readonly seq: number;
  /** Hash of the previous row, hex; zeros for the first. */
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
 * Formats a row by RFC 8785 for strings, nulls and one safe integer: sorted members, strings as in JSON.stringify.
 * Members are listed explicitly, so that an additional member in an export is never treated as hashed.
 */
export function canonicalRow(row: Omit<SealedRow, 'hash'>): string {
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

/** Reads the details of a row; empty if they were truncated, because they are not valid JSON then. */
export function parseDetail({ detail }: Pick<AuditRow, 'detail'>): Readonly<Record<string, unknown>> {
  try {
    return { ...JSON.parse(detail ?? '{}') };
  } catch {
    return {};
  }
}

/** Assigns positions to rows, starting after the row `after`. */
export function seal(rows: readonly AuditRow[], after: { readonly seq: number; readonly hash: string }): SealedRow[] {
  let { seq, hash } = after;
  return rows.map((row) => {
    seq += 1;
    const placed = { ...row, seq, previous: hash };
    hash = rowHash(placed);
    return { ...placed, hash };
  });
}
