import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about: 'Lists every action at this broker, with the roles that may perform it.',
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass operators roles'],
  page: 'docs/install/operators.md',
  run: async ({ output, ...options }) => {
    const { actions } = (await operatorClient(options, process.env)('GET', '/operator/roles')) as {
      readonly actions: readonly { readonly action: string; readonly roles: readonly string[] }[];
    };
    if (output === 'json') console.log(JSON.stringify({ actions }, null, 2));
    else for (const { action, roles } of actions) console.log(`${action.padEnd(26)}${roles.join(', ')}`);
  },
});
