/** Defines the commands that export the audit log and verify such exports. */
import { createWriteStream, existsSync, openSync, type WriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { type NoteVerifier, parseVerifier } from '@meshpass/broker/audit/checkpoint/note';
import { type AuditExport, readExport } from '@meshpass/broker/audit/export/export';
import { ocsfEvents } from '@meshpass/broker/audit/export/ocsf';
import { type Gap, type Report, verifyExport } from '@meshpass/broker/audit/export/verify';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../../command/define.ts';
import { choice, list, type OptionsOf, text, wholeNumber } from '../../command/flag.ts';
import { EXIT } from '../../command/outcome.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { fileLines, readTextFile } from '../../input/files.ts';
import { createAuditClient } from '../../operator/client.ts';
import { withSnakeCaseTwins } from '../../output/json.ts';

const exportFlags = {
  form: choice(['jsonl', 'ocsf'], 'jsonl: rows as JSON Lines that can be verified; ocsf: OCSF events', {
    value: '<format>',
    default: 'jsonl',
  }),
  after: wholeNumber('<row>', 'omit this row and all earlier rows', { default: '0' }),
  to: text('<file>', 'write to this file, which must not already exist', { defaultText: 'standard output' }),
  ...operatorFlags,
  output,
};

export const commands = {
  verify: defineCommand({
    about: 'Without --key, the log is verified with the key that it contains.',
    flags: {
      file: text('<file>', "an export, instead of the broker's log"),
      checkpoint: list('<file>', 'file with a checkpoint that was stored elsewhere'),
      key: list('<key>', 'verifier key, or a file with verifier keys'),
      ...operatorFlags,
      output,
    },
    exitCodes: {
      0: 'the log verifies',
      1: 'the log does not verify, or is not an export',
      2: 'invalid flags, or an unreadable file',
    },
    env: TOKEN_ENV,
    examples: ['meshpass audit verify --key key.txt', 'meshpass audit verify --file audit.jsonl --key key.txt'],
    page: 'docs/audit.md',
    run: async ({ file, ...options }) => {
      const anchored = options.checkpoint.map((path) => ({ label: path, note: readTextFile(path, '--checkpoint') }));
      const keys = options.key.flatMap(readKeys);
      const lines =
        file === undefined
          ? (await createAuditClient(options)('GET', '/audit/export')).lines()
          : fileLines(file, '--file');
      const report = await verifyExport(await readExport(lines), { anchored, keys });
      return {
        json: withSnakeCaseTwins(report),
        text: () => formatVerificationReport(report),
        exit: report.ok ? EXIT.ok : EXIT.failed,
      };
    },
  }),
  export: defineCommand({
    about: '--output only affects how errors are printed.',
    flags: exportFlags,
    env: TOKEN_ENV,
    examples: ['meshpass audit export --to audit.jsonl', 'meshpass audit export --form ocsf --after 1000'],
    page: 'docs/audit.md',
    run: exportAudit,
  }),
};

function readKeys(given: string): NoteVerifier[] {
  const lines = existsSync(given) ? readTextFile(given, '--key').split('\n') : [given];
  return lines.filter((line) => line.trim() !== '').map(parseVerifier);
}

async function exportAudit(options: OptionsOf<typeof exportFlags>): Promise<void> {
  const send = createAuditClient(options);
  // Open the file before sending the request. If the file already exists, this fails early and does not overwrite it.
  const file = options.to === undefined ? undefined : newFile(options.to);
  const lines = (await send('GET', `/audit/export?after=${options.after}`)).lines();
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

/**
 * Formats a gap that an operator declared after a restore. Such a gap does not indicate tampering, but the log is
 * incomplete.
 */
function gapLine({ missing, unproven, isEndKnown, kept, epoch, row, time, by, reason }: Gap): string {
  const gone = missing
    ? `signed rows ${missing[0]} to ${missing[1]} are missing from this log`
    : isEndKnown
      ? 'no signed row is missing'
      : `the number of rows after row ${kept} is unknown`;
  const doubtful = unproven ? `; rows ${unproven[0]} to ${unproven[1]} are proven only from that row on` : '';
  const told = row === undefined ? 'its row was pruned' : `row ${row}, ${time}, by ${by}: ${reason}`;
  return `DECLARED GAP  a restore began epoch ${epoch}: ${gone}${doubtful} (${told})`;
}

/** Formats a verification report. */
function formatVerificationReport(report: Report): readonly string[] {
  const { ok, rows, first, last, prunedUpTo, checkpoints, problems, more, keysPinned, keys } = report;
  const head = ok
    ? `The log verifies: ${rows} rows, ${first} to ${last}, and ${checkpoints} signed checkpoints.`
    : `THE LOG DOES NOT VERIFY: ${problems.length + more} findings in rows ${first} to ${last}.`;
  return [
    head,
    ...report.gaps.map(gapLine),
    ...problems.map((problem) => `  ${problem.kind.padEnd(12)} ${problem.message}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...(prunedUpTo > 0 ? [`Rows up to ${prunedUpTo} were pruned, as a signed cut and a row in the log confirm.`] : []),
    `Log ${report.origin}, root ${report.root}`,
    keysPinned
      ? `Signed by the key that you passed.`
      : 'Signed by the key in the log itself: pass --key to compare it with a key that you trust.',
    ...(keysPinned ? [] : keys),
  ];
}
