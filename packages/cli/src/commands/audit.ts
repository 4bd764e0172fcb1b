/** `meshpass audit`: read the audit log, export it, verify it, anchor it, prune it. */
import { createWriteStream, existsSync, openSync, type WriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { type NoteVerifier, parseVerifier } from '@meshpass/broker/audit/checkpoint/note';
import { type AuditExport, readExport } from '@meshpass/broker/audit/export/export';
import { ocsfEvents } from '@meshpass/broker/audit/export/ocsf';
import { verifyExport } from '@meshpass/broker/audit/export/verify';
import type { SealedRow } from '@meshpass/broker/audit/log/leaf';
import { MeshpassError } from '@meshpass/identity/error';
import { EXIT, type Output } from '../command/failure.ts';
import { wholeNumber } from '../input/host-port.ts';
import { type AuditClientOptions, auditClient, fileLines, readText } from '../operator/audit-client.ts';
import { reportText, rowLine } from '../operator/audit-text.ts';

interface Common extends AuditClientOptions {
  readonly output: Output;
}

export interface VerifyOptions extends Common {
  /** An export, instead of the broker's own log. */
  readonly file?: string;
  /** Files with checkpoints that were taken earlier. */
  readonly checkpoint: readonly string[];
  /** Verifier keys, or files with them. */
  readonly key: readonly string[];
}

/** Exit code 1 where anything was found. @throws MeshpassError `usage`, `request_malformed`, and what the broker answers */
export async function verifyAudit(options: VerifyOptions): Promise<void> {
  const anchored = options.checkpoint.map((file) => ({ label: file, note: readText(file) }));
  const keys = options.key.flatMap(readKeys);
  const lines =
    options.file === undefined
      ? await auditClient(options, process.env).lines('/audit/export')
      : fileLines(options.file);
  const report = await verifyExport(await readExport(lines), { anchored, keys });
  console.log(options.output === 'json' ? JSON.stringify(report, null, 2) : reportText(report));
  if (!report.ok) process.exitCode = EXIT.failed;
}

function readKeys(text: string): NoteVerifier[] {
  const lines = existsSync(text) ? readText(text).split('\n') : [text];
  return lines.filter((line) => line.trim() !== '').map(parseVerifier);
}

export interface TailOptions extends Common {
  readonly lines: string;
  readonly follow?: boolean;
  readonly session?: string;
}

const FOLLOW_MS = 1_000;

export async function tailAudit(options: TailOptions): Promise<void> {
  const client = auditClient(options, process.env);
  const only = options.session === undefined ? '' : `&session=${encodeURIComponent(options.session)}`;
  const print = (row: SealedRow) => console.log(options.output === 'json' ? JSON.stringify(row) : rowLine(row));
  const page = async (query: string) => (await client.json(`/audit?${query}${only}`)) as Page;
  const count = wholeNumber(options.lines, '--lines');
  let { rows, next } = await page(`last=${Math.min(Math.max(count, 1), MAX_PAGE)}`);
  for (const row of count === 0 ? [] : rows) print(row);
  while (options.follow) {
    if (rows.length < MAX_PAGE) await pause(FOLLOW_MS);
    ({ rows, next } = await page(`after=${next}&limit=${MAX_PAGE}`));
    for (const row of rows) print(row);
  }
}

interface Page {
  readonly rows: readonly SealedRow[];
  readonly next: number;
}
const MAX_PAGE = 1_000;

export interface ExportOptions extends Common {
  readonly form: 'jsonl' | 'ocsf';
  readonly after: string;
  /** File to write; standard output where absent. */
  readonly to?: string;
}

export async function exportAudit(options: ExportOptions): Promise<void> {
  const after = wholeNumber(options.after, '--after');
  const client = auditClient(options, process.env);
  // Before anything is asked for: a file that is there stays as it is.
  const file = options.to === undefined ? undefined : newFile(options.to);
  const lines = await client.lines(`/audit/export?after=${after}`);
  const text = options.form === 'jsonl' ? asText(lines) : asText(eventLines(await readExport(lines)));
  if (file === undefined) await pipeline(text, process.stdout, { end: false });
  else await pipeline(text, file);
}

function newFile(path: string): WriteStream {
  try {
    return createWriteStream(path, { fd: openSync(path, 'wx', 0o600) });
  } catch (cause) {
    throw new MeshpassError('usage', `${path} cannot be made; it must not exist yet.`, { cause });
  }
}

async function* asText(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`;
}

async function* eventLines(log: AuditExport): AsyncGenerator<string> {
  for await (const row of log.rows) {
    if ('line' in row) throw new MeshpassError('audit_tampered', `Line ${row.line} of the export is not a row.`);
    for (const event of ocsfEvents(row)) yield JSON.stringify(event);
  }
}

export async function checkpointAudit(options: Common): Promise<void> {
  const note = await auditClient(options, process.env).text('/audit/checkpoint');
  process.stdout.write(options.output === 'json' ? `${JSON.stringify({ note })}\n` : note);
}

export async function keyAudit(options: Common): Promise<void> {
  const text = await auditClient(options, process.env).text('/audit/key');
  const keys = text.split('\n').filter((line) => line !== '');
  process.stdout.write(options.output === 'json' ? `${JSON.stringify({ keys })}\n` : text);
}

export interface PruneOptions extends Common {
  readonly before: string;
  readonly yes?: boolean;
}

/** @throws MeshpassError `usage` where it is not confirmed */
export async function pruneAudit(options: PruneOptions): Promise<void> {
  const before = new Date(options.before);
  if (Number.isNaN(before.getTime()))
    throw new MeshpassError('usage', '--before needs a date, such as 2026-01-31 or 2026-01-31T12:00:00Z.');
  if (!options.yes)
    throw new MeshpassError(
      'usage',
      `This deletes every row before ${before.toISOString()} for good. Export them first; then confirm with --yes.`,
    );
  const order = { before: before.toISOString() };
  const pruned = (await auditClient(options, process.env).json('/audit/prune', order)) as {
    size: number;
    rows: number;
    note: string;
  };
  if (options.output === 'json') console.log(JSON.stringify(pruned));
  else if (pruned.rows === 0) console.log('No row is that old: nothing was pruned.');
  else console.log(`Pruned ${pruned.rows} rows, up to ${pruned.size}. The signed cut:\n\n${pruned.note}`);
}
