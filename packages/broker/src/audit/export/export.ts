/**
 * Exports the log as JSON lines. The first line is a header that contains the log's name, the state before the first
 * row, and a signed checkpoint that covers the last row. It is followed by the earlier signed checkpoints and the rows.
 * An export can be verified on its own, or against a checkpoint from elsewhere.
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import type { Db } from '../../store/index.ts';
import { readRestoreNotes } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import { SealedRow } from '../log/chain.ts';
import type { CheckpointSigner, SignedCheckpoint } from '../log/checkpoint-signer.ts';
import { buildLogTree, lastCut, rowsAfter } from '../log/rows.ts';
import { EMPTY_LOG_STATE, isLogState } from '../log/tree.ts';

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const note = z.string().max(64 * 1024);

const Header = z.strictObject({
  kind: z.literal('meshpass-audit'),
  version: z.literal(1),
  origin: z.string().min(1),
  /** The verifier keys that the broker publishes. */
  keys: z.array(z.string()).min(1).max(16),
  /** The state of the log before the first exported row. */
  start: z
    .strictObject({ size: z.number().int(), peaks: z.array(hex).max(64), hash: hex })
    .refine(isLogState, 'has the wrong number of peaks for its size'),
  /** The signed cut that replaces the earlier rows, if any were pruned. */
  cut: note.nullable(),
  /** The declared restores, each represented by the first checkpoint of its epoch. */
  restores: z.array(note).max(1000).default([]),
  /** The checkpoint that covers all rows, including the last one. */
  checkpoint: note,
});
export type ExportHeader = z.infer<typeof Header>;

const CheckpointLine = z.strictObject({ kind: z.literal('checkpoint'), note });

/** A line that could not be parsed as a row. */
export interface UnreadableLine {
  readonly line: number;
}

export interface AuditExport {
  readonly header: ExportHeader;
  readonly checkpoints: readonly string[];
  readonly rows: AsyncIterable<SealedRow | UnreadableLine>;
}

/**
 * Exports the durable part of the log.
 * @param after the number of the last row that is not exported
 * @throws MeshpassError `audit_tampered`, `request_malformed`, `store_unavailable`
 */
export async function exportLog(
  { db, key, checkpoints }: { readonly db: Db; readonly key: AuditKey; readonly checkpoints: CheckpointSigner },
  after = 0,
): Promise<AuditExport> {
  const { size, note: last } = await closing(checkpoints);
  const cut = await lastCut(db);
  if (after > size) throw new MeshpassError('request_malformed', `The log has only ${size} rows.`);
  let start = cut?.start ?? EMPTY_LOG_STATE;
  if (after > start.size) start = (await buildLogTree(db, after, key.verifiers)).tree.state();
  const stored = await db
    .selectFrom('audit_checkpoints')
    .select('note')
    .where('size', '>', String(start.size))
    .where('size', '<=', String(size))
    .where('note', '!=', last)
    .orderBy('size')
    .execute();
  return {
    header: {
      kind: 'meshpass-audit',
      version: 1,
      origin: key.origin,
      keys: key.verifiers.map((verifier) => verifier.text),
      start: { size: start.size, peaks: [...start.peaks], hash: start.hash },
      cut: start === cut?.start ? cut.note : null,
      restores: await readRestoreNotes(db),
      checkpoint: last,
    },
    checkpoints: stored.map((one) => one.note),
    rows: rowsAfter(db, start.size, size),
  };
}

/**
 * Signs the checkpoint of the export. If the log was tampered with, it cannot get a new checkpoint. It is then exported
 * with its last one, so that verification can locate the change.
 */
async function closing(checkpoints: CheckpointSigner): Promise<SignedCheckpoint> {
  try {
    return await checkpoints.sign();
  } catch (thrown) {
    const note = await checkpoints.last();
    if (note === undefined || !(thrown instanceof MeshpassError) || thrown.code !== 'audit_tampered') throw thrown;
    return { size: Number.MAX_SAFE_INTEGER, note };
  }
}

export async function* serializeExport({ header, checkpoints, rows }: AuditExport): AsyncGenerator<string> {
  yield `${JSON.stringify(header)}\n`;
  for (const one of checkpoints) yield `${JSON.stringify({ kind: 'checkpoint', note: one })}\n`;
  for await (const row of rows) yield `${JSON.stringify(row)}\n`;
}

/**
 * Parses an export.
 * @param lines the lines of the export, without their newlines
 * @throws MeshpassError `request_malformed` if the first line is not an export header
 */
export async function readExport(lines: AsyncIterable<string>): Promise<AuditExport> {
  const iterator = lines[Symbol.asyncIterator]();
  const first = await iterator.next();
  const header = Header.safeParse(first.done ? undefined : parse(first.value));
  if (!header.success)
    throw new MeshpassError('request_malformed', 'The first line is not an audit log export header.');
  const checkpoints: string[] = [];
  let line = 2;
  let next = await iterator.next();
  for (; !next.done; next = await iterator.next(), line++) {
    const checkpoint = CheckpointLine.safeParse(parse(next.value));
    if (!checkpoint.success) break;
    checkpoints.push(checkpoint.data.note);
  }
  async function* rows(): AsyncGenerator<SealedRow | UnreadableLine> {
    for (; !next.done; next = await iterator.next(), line++) {
      const row = SealedRow.safeParse(parse(next.value));
      yield row.success ? row.data : { line };
    }
  }
  return { header: header.data, checkpoints, rows: rows() };
}

function parse(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}
