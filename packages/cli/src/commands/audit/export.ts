import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { type AuditExport, readExport } from '@meshpass/broker/audit/export/export';
import { ocsfEvents } from '@meshpass/broker/audit/export/ocsf';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { choice, type OptionsOf, text, wholeNumber } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { auditClient } from '../../operator/audit-client.ts';

const flags = {
  form: choice(['jsonl', 'ocsf'], 'jsonl: rows as JSON Lines that can be verified; ocsf: OCSF events', {
    value: '<format>',
    default: 'jsonl',
  }),
  after: wholeNumber('<row>', 'omit this row and all earlier rows', { default: '0' }),
  to: text('<file>', 'write to this file, which must not already exist', { defaultText: 'standard output' }),
  ...operatorFlags,
  output,
};

export const command = defineCommand({
  about: '--output only affects how errors are printed.',
  flags,
  env: TOKEN_ENV,
  examples: ['meshpass audit export --to audit.jsonl', 'meshpass audit export --form ocsf --after 1000'],
  page: 'docs/audit.md',
  run: exportAudit,
});

async function exportAudit(options: OptionsOf<typeof flags>): Promise<void> {
  const client = auditClient(options, process.env);
  // Opened before the request to the broker, so that an existing file is never replaced.
  const file = options.to === undefined ? undefined : newFile(options.to);
  const lines = await client.lines(`/audit/export?after=${options.after}`);
  const written = options.form === 'jsonl' ? withNewlines(lines) : withNewlines(eventLines(await readExport(lines)));
  if (file === undefined) await pipeline(written, process.stdout, { end: false });
  else await pipeline(written, file);
}

function newFile(path: string): WriteStream {
  try {
    return createWriteStream(path, { fd: openSync(path, 'wx', 0o600) });
  } catch (cause) {
    throw new MeshpassError('usage', `Cannot create ${path}. The file must not already exist.`, { cause });
  }
}

async function* withNewlines(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`;
}

async function* eventLines(log: AuditExport): AsyncGenerator<string> {
  for await (const row of log.rows) {
    if ('line' in row) throw new MeshpassError('audit_tampered', `Line ${row.line} of the export is not an audit row.`);
    for (const event of ocsfEvents(row)) yield JSON.stringify(event);
  }
}
