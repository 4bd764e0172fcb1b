import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { auditClient } from '../../operator/audit-client.ts';

export const command = defineCommand({
  about: 'Store it outside the broker, so that audit verify --checkpoint can detect rows that were changed or cut off.',
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass audit checkpoint > checkpoint.txt'],
  page: 'docs/audit.md',
  run: async (options) => {
    const note = await auditClient(options, process.env).text('/audit/checkpoint');
    process.stdout.write(options.output === 'json' ? `${JSON.stringify({ note })}\n` : note);
  },
});
