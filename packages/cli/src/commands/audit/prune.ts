import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, text, toggle } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { auditClient } from '../../operator/audit-client.ts';

const flags = {
  before: text('<date>', 'delete rows before this UTC date: 2026-01-31 or 2026-01-31T12:00:00Z', { required: true }),
  reason: text('<text>', 'reason for the audit log', { required: true }),
  yes: toggle('confirm'),
  ...operatorFlags,
  output,
};

export const command = defineCommand({
  about: 'Export the rows first. The command prints a signed cut, and the remaining rows verify from there.',
  flags,
  env: TOKEN_ENV,
  examples: ['meshpass audit prune --before 2026-01-01 --reason "kept for a year" --yes'],
  page: 'docs/audit.md',
  run: prune,
});

interface Pruned {
  readonly size: number;
  readonly rows: number;
  readonly note: string;
}

/**
 * Prunes the log.
 * @throws MeshpassError `usage` without a confirmation
 */
async function prune(options: OptionsOf<typeof flags>): Promise<void> {
  const before = new Date(options.before);
  if (Number.isNaN(before.getTime()))
    throw new MeshpassError('usage', '--before must be a date, such as 2026-01-31 or 2026-01-31T12:00:00Z.');
  if (!options.yes)
    throw new MeshpassError(
      'usage',
      `This permanently deletes every row before ${before.toISOString()}. Export the rows first, then confirm with --yes.`,
    );
  const client = auditClient(options, process.env);
  const pruned = (await client.json('/audit/prune', {
    before: before.toISOString(),
    reason: options.reason,
  })) as Pruned;
  if (options.output === 'json') console.log(JSON.stringify(pruned));
  else if (pruned.rows === 0) console.log('No rows are that old, so nothing was pruned.');
  else console.log(`Pruned ${pruned.rows} rows, up to ${pruned.size}. The signed cut:\n\n${pruned.note}`);
}
