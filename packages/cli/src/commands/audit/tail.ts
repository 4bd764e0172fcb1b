import { setTimeout as pause } from 'node:timers/promises';
import type { SealedRow } from '@meshpass/broker/audit/log/chain';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, text, toggle, wholeNumber } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { auditClient } from '../../operator/audit-client.ts';
import { rowLine } from '../../operator/audit-text.ts';

const flags = {
  lines: wholeNumber('<number>', 'number of rows to print, at most 1000', { default: '20' }),
  follow: toggle('keep printing rows as they are written'),
  session: text('<id>', 'print only rows of this session'),
  ...operatorFlags,
  output,
};

export const command = defineCommand({
  about: 'With --output json, one row per line.',
  flags,
  env: TOKEN_ENV,
  examples: ['meshpass audit tail --lines 50 --follow'],
  page: 'docs/audit.md',
  run: tail,
});

interface Page {
  readonly rows: readonly SealedRow[];
  readonly next: number;
}

const FOLLOW_MS = 1_000;
const MAX_PAGE = 1_000;

async function tail(options: OptionsOf<typeof flags>): Promise<void> {
  const client = auditClient(options, process.env);
  const only = options.session === undefined ? '' : `&session=${encodeURIComponent(options.session)}`;
  const print = (row: SealedRow) => console.log(options.output === 'json' ? JSON.stringify(row) : rowLine(row));
  const page = async (query: string) => (await client.json(`/audit?${query}${only}`)) as Page;
  let { rows, next } = await page(`last=${Math.min(Math.max(options.lines, 1), MAX_PAGE)}`);
  for (const row of options.lines === 0 ? [] : rows) print(row);
  // Programs read the rows from stdout.
  if (rows.length === 0) console.error(noRows(options.session));
  while (options.follow) {
    if (rows.length < MAX_PAGE) await pause(FOLLOW_MS);
    ({ rows, next } = await page(`after=${next}&limit=${MAX_PAGE}`));
    for (const row of rows) print(row);
  }
}

function noRows(session: string | undefined): string {
  return session === undefined ? 'The audit log has no rows yet.' : `The audit log has no rows for session ${session}.`;
}
