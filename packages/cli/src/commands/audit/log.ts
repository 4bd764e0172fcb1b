/** Defines the operator commands for the broker's audit log that do not verify the log locally. */
import { setTimeout as pause } from 'node:timers/promises';
import type { SealedRow } from '@meshpass/broker/audit/log/chain';
import { MeshpassError, plainText } from '@meshpass/identity';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, text, toggle, wholeNumber } from '../../command/flag.ts';
import type { Answer } from '../../command/outcome.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { createAuditClient } from '../../operator/client.ts';

const tailFlags = {
  lines: wholeNumber('<number>', 'number of rows to print, at most 1000', { default: '20' }),
  follow: toggle('keep printing rows as they are written'),
  session: text('<id>', 'print only rows of this session'),
  ...operatorFlags,
  output,
};
const pruneFlags = {
  before: text('<date>', 'delete rows before this UTC date: 2026-01-31 or 2026-01-31T12:00:00Z', { required: true }),
  reason: text('<text>', 'reason for the audit log', { required: true }),
  yes: toggle('confirm'),
  ...operatorFlags,
  output,
};
const shared = { env: TOKEN_ENV, page: 'docs/audit.md' };

export const commands = {
  tail: defineCommand({
    about: 'With --output json, one row per line.',
    flags: tailFlags,
    examples: ['meshpass audit tail --lines 50 --follow'],
    ...shared,
    run: tail,
  }),
  checkpoint: defineCommand({
    about:
      'Store it outside the broker, so that audit verify --checkpoint can detect rows that were changed or cut off.',
    flags: { ...operatorFlags, output },
    examples: ['meshpass audit checkpoint > checkpoint.txt'],
    ...shared,
    run: async (options) => {
      const note = await (await createAuditClient(options)('GET', '/audit/checkpoint')).text();
      return { json: { note }, text: () => note.trimEnd() };
    },
  }),
  key: defineCommand({
    about: 'Store it outside the broker, for audit verify --key.',
    flags: { ...operatorFlags, output },
    examples: ['meshpass audit key > key.txt'],
    ...shared,
    run: async (options) => {
      const text = await (await createAuditClient(options)('GET', '/audit/key')).text();
      const keys = text.split('\n').filter((line) => line !== '');
      return { json: { keys }, text: () => keys };
    },
  }),
  prune: defineCommand({
    about: 'Export the rows first. The command prints a signed cut, and the remaining rows verify from there.',
    flags: pruneFlags,
    examples: ['meshpass audit prune --before 2026-01-01 --reason "kept for a year" --yes'],
    ...shared,
    run: prune,
  }),
};

interface Page {
  readonly rows: readonly SealedRow[];
  readonly next: number;
}

const FOLLOW_MS = 1_000;
const MAX_PAGE = 1_000;

async function tail(options: OptionsOf<typeof tailFlags>): Promise<void> {
  const send = createAuditClient(options);
  const only = options.session === undefined ? '' : `&session=${encodeURIComponent(options.session)}`;
  const print = (row: SealedRow) => console.log(options.output === 'json' ? JSON.stringify(row) : formatAuditRow(row));
  const page = async (query: string) => (await (await send('GET', `/audit?${query}${only}`)).json()) as unknown as Page;
  let { rows, next } = await page(`last=${Math.min(Math.max(options.lines, 1), MAX_PAGE)}`);
  for (const row of options.lines === 0 ? [] : rows) print(row);
  // Print this to stderr, because programs read the rows from stdout.
  const where = options.session === undefined ? ' yet' : ` for session ${options.session}`;
  if (rows.length === 0) console.error(`The audit log has no rows${where}.`);
  while (options.follow) {
    if (rows.length < MAX_PAGE) await pause(FOLLOW_MS);
    ({ rows, next } = await page(`after=${next}&limit=${MAX_PAGE}`));
    for (const row of rows) print(row);
  }
}

interface Pruned {
  readonly size: number;
  readonly rows: number;
  readonly note: string;
}

/**
 * Prunes the audit log.
 * @throws MeshpassError `usage` if the date is invalid or the confirmation is missing
 */
async function prune(options: OptionsOf<typeof pruneFlags>): Promise<Answer> {
  const date = new Date(options.before);
  if (Number.isNaN(date.getTime()))
    throw new MeshpassError('usage', '--before must be a date, such as 2026-01-31 or 2026-01-31T12:00:00Z.');
  const before = date.toISOString();
  if (!options.yes)
    throw new MeshpassError(
      'usage',
      `This permanently deletes every row before ${before}. Export the rows first, then confirm with --yes.`,
    );
  const order = { before, reason: options.reason };
  const answer = await createAuditClient(options)('POST', '/audit/prune', order);
  const pruned = (await answer.json()) as unknown as Pruned;
  const { rows, size, note } = pruned;
  const text = () =>
    rows === 0
      ? 'No rows are that old, so nothing was pruned.'
      : `Pruned ${rows} rows, up to ${size}. The signed cut:\n\n${note}`;
  return { json: pruned, text };
}

/**
 * Formats a row as a single line. Control characters in untrusted text are replaced, so that they cannot start a new
 * line or control the terminal.
 */
export function formatAuditRow(row: SealedRow): string {
  const who = row.login ?? row.subject ?? '-';
  const parts = [
    `${row.seq}`.padStart(7),
    row.time,
    row.outcome.padEnd(7),
    row.action.padEnd(17),
    who.padEnd(16),
    row.target ?? '-',
    row.rule ?? row.grant_name ?? '',
    row.source === null ? '' : `from ${row.source}`,
    row.session_id === null ? '' : `session ${row.session_id}`,
    // Show the request ID. Developers see it in the response if their request is refused, and may ask about it.
    row.action === 'request' && row.request_id !== null ? `request ${row.request_id}` : '',
    row.code === null ? '' : `[${row.code}]`,
    row.reason,
  ];
  return plainText(parts.filter((part) => part !== '').join('  '));
}
