/**
 * A row of the audit log as it is hashed: canonical JSON (RFC 8785) of all of its members but `hash`. The row before is in
 * it by its hash, so the rows are a chain; and the hash is that of a leaf of a Merkle tree (RFC 6962 section 2.1), so a
 * checkpoint of the tree speaks for every row.
 */
import { hash as digest } from 'node:crypto';
import type { AuditRow } from './event.ts';

/** A row with its place in the log. */
export interface SealedRow extends AuditRow {
  /** 1 for the first row there ever was; no number is left out or used again. */
  readonly seq: number;
  /** Hash of the row before, hex; zeros for the first. */
  readonly previous: string;
  /** SHA-256 of a zero byte and the canonical JSON of the row without this member, hex. */
  readonly hash: string;
}

/** What the first row has in place of the hash of the one before. */
export const NO_ROW = '0'.repeat(64);

export function rowHash(row: Omit<SealedRow, 'hash'>): string {
  return digest('sha256', `\0${canonicalRow(row)}`, 'hex');
}

/**
 * RFC 8785 for an object of strings, nulls and one safe integer: members sorted, and strings as JSON.stringify has them.
 * Read from an export, a member too many must not go unseen: it belongs to what was hashed only if it is named here.
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

/** Gives rows their place after the row `after`. */
export function seal(rows: readonly AuditRow[], after: { readonly seq: number; readonly hash: string }): SealedRow[] {
  let { seq, hash } = after;
  return rows.map((row) => {
    seq += 1;
    const placed = { ...row, seq, previous: hash };
    hash = rowHash(placed);
    return { ...placed, hash };
  });
}
