/**
 * Defines the canonical form and the hash of an audit row. The canonical form is the canonical JSON (RFC 8785) of all
 * members except `hash`. Every row contains the hash of the previous row, so the rows form a chain. The hash is also
 * the leaf hash of the row in a Merkle tree (RFC 6962 section 2.1), so a checkpoint of the tree covers every row.
 */
import { hash as digest } from 'node:crypto';
import { z } from 'zod';
import type { AuditRow } from './event.ts';

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const text = z.string().nullable();

/** A row together with its position in the log. The hash covers all other members. */
export const SealedRow = z.strictObject({
  /**
   * The sequence number. Numbering starts at 1 with the first row ever written, and numbers are never skipped or
   * reused.
   */
  seq: z.number().int().positive(),
  /** The hash of the previous row, in hex. All zeros for the first row. */
  previous: hex,
  /** The SHA-256 hash, in hex, of a zero byte followed by the canonical JSON of the row without this member. */
  hash: hex,
  id: z.string(),
  time: z.string(),
  action: z.string(),
  outcome: z.string(),
  code: text,
  reason: z.string(),
  subject: text,
  login: text,
  issuer: text,
  session_id: text,
  workspace: text,
  grant_name: text,
  rule: text,
  target: text,
  proof_hash: text,
  source: text,
  request_id: text,
  detail: text,
});
export type SealedRow = Readonly<z.infer<typeof SealedRow>>;

/** The value of `previous` in the first row. */
export const GENESIS_HASH = '0'.repeat(64);

/** The members that the hash covers, in the order of RFC 8785. */
const HASHED = Object.keys(SealedRow.omit({ hash: true }).shape).sort() as (keyof Omit<SealedRow, 'hash'>)[];

/**
 * Returns the hash of a row, in hex. A row only contains strings, nulls and one safe integer, so `JSON.stringify`
 * formats it according to RFC 8785. Additional members are ignored, so that one in an export is never mistaken for
 * hashed data.
 */
export function rowHash(row: Omit<SealedRow, 'hash'>): string {
  const hashed: Record<string, unknown> = {};
  for (const name of HASHED) hashed[name] = row[name];
  return digest('sha256', `\0${JSON.stringify(hashed)}`, 'hex');
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
