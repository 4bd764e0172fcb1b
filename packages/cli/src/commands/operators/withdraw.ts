import { defineCommand } from '../../command/define.ts';
import { argument, text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about: 'Nobody can confirm it any more. What others asked for is withdrawn by whose role allows that action.',
  args: { id: argument('id of what waits; meshpass operators confirmations lists them') },
  flags: { reason: text('<text>', 'why, for the audit log'), ...operatorFlags, output },
  exitCodes: { 0: 'withdrawn', 1: 'nothing waits under this id, or you may not withdraw it' },
  env: TOKEN_ENV,
  examples: ['meshpass operators withdraw 0193a1b2-7c3d-7000-8000-0123456789ab --reason "wrong key"'],
  page: 'docs/install/operators.md',
  run: async ({ id, reason, output, ...options }) => {
    const order = { id, ...(reason !== undefined && { reason }) };
    const answer = await operatorClient(options, process.env)('POST', '/operator/confirmations/withdraw', order);
    const { withdrawn } = answer as { readonly withdrawn: { readonly id: string; readonly action: string } };
    console.log(
      output === 'json' ? JSON.stringify({ withdrawn }, null, 2) : `Withdrawn: ${withdrawn.action} does not run.`,
    );
  },
});
