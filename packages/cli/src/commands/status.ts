import { askAgent, runtimeDirectory } from '@meshpass/agent/control';
import type { AgentStatus } from '@meshpass/agent/status';
import { defineCommand } from '../command/define.ts';
import { output } from '../command/shared-flags.ts';
import { statusText } from '../output/status-text.ts';

export const command = defineCommand({
  flags: { output },
  examples: ['meshpass status', 'meshpass status --output json'],
  page: 'docs/agent.md',
  run: async ({ output }) => {
    const status = await askAgent<AgentStatus>(runtimeDirectory(process.env), { command: 'status' });
    console.log(output === 'json' ? JSON.stringify(status, null, 2) : statusText(status, Date.now()));
  },
});
