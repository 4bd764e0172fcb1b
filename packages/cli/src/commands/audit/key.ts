import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { auditClient } from '../../operator/audit-client.ts';

export const command = defineCommand({
  about: 'Store it outside the broker, for audit verify --key.',
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass audit key > key.txt'],
  page: 'docs/audit.md',
  run: async (options) => {
    const keys = await auditClient(options, process.env).text('/audit/key');
    const listed = keys.split('\n').filter((line) => line !== '');
    process.stdout.write(options.output === 'json' ? `${JSON.stringify({ keys: listed })}\n` : keys);
  },
});
