import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { requestable } from '../approvals/agent.ts';
import { offersText } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';
import { formatJson } from '../output/json.ts';
import { statusText } from '../output/status-text.ts';

export const command = defineCommand({
  flags: { output },
  env: AGENT_ENV,
  examples: ['meshpass status', 'meshpass status --output json'],
  page: 'docs/agent.md',
  run: async ({ output }) => {
    const status = await askAgent<AgentStatus>(runtimeDirectory(process.env), { command: 'status' });
    const offers = await requestable();
    console.log(
      output === 'json'
        ? formatJson({ ...status, requestable: offers })
        : [statusText(status, Date.now()), ...offersText(offers)].join('\n'),
    );
  },
});
