import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import { exportLines } from '@meshpass/agent/proxy/environment';
import { defineCommand } from '../command/define.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  flags: { output },
  env: AGENT_ENV,
  examples: ['eval "$(meshpass env)"'],
  page: 'docs/agent.md',
  run: async ({ output }) => {
    const variables = await askAgent<Record<string, string>>(runtimeDirectory(process.env), { command: 'env' });
    process.stdout.write(output === 'json' ? `${JSON.stringify(variables, null, 2)}\n` : exportLines(variables));
  },
});
