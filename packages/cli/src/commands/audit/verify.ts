import { existsSync } from 'node:fs';
import { type NoteVerifier, parseVerifier } from '@meshpass/broker/audit/checkpoint/note';
import { readExport } from '@meshpass/broker/audit/export/export';
import { verifyExport } from '@meshpass/broker/audit/export/verify';
import { defineCommand } from '../../command/define.ts';
import { EXIT } from '../../command/failure.ts';
import { list, text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { readTextFile } from '../../input/text-file.ts';
import { auditClient, fileLines } from '../../operator/audit-client.ts';
import { reportText } from '../../operator/audit-text.ts';
import { formatJson } from '../../output/json.ts';

export const command = defineCommand({
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
  run: async (options) => {
    const anchored = options.checkpoint.map((file) => ({ label: file, note: readTextFile(file, '--checkpoint') }));
    const keys = options.key.flatMap(readKeys);
    const lines =
      options.file === undefined
        ? await auditClient(options, process.env).lines('/audit/export')
        : fileLines(options.file, '--file');
    const report = await verifyExport(await readExport(lines), { anchored, keys });
    console.log(options.output === 'json' ? formatJson(report) : reportText(report));
    return report.ok ? EXIT.ok : EXIT.failed;
  },
});

function readKeys(given: string): NoteVerifier[] {
  const lines = existsSync(given) ? readTextFile(given, '--key').split('\n') : [given];
  return lines.filter((line) => line.trim() !== '').map(parseVerifier);
}
