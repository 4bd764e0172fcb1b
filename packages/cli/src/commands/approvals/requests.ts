import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { askApprovals } from '../../approvals/agent.ts';
import { readRequestId } from '../../approvals/input.ts';
import { overviewText, printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { text } from '../../command/flag.ts';
import { AGENT_ENV, output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about: "Shows this session's requests, requests you can answer, and grants you can request.",
  flags: { withdraw: text('<id>', 'withdraw this request; the session loses its grant immediately'), output },
  env: AGENT_ENV,
  examples: ['meshpass requests', 'meshpass requests --withdraw 0123456789abcdef01234567'],
  page: 'docs/access/approvals.md',
  run: async ({ withdraw, output }) => {
    if (withdraw !== undefined)
      return printRequest(await askApprovals({ act: 'withdraw', order: { id: readRequestId(withdraw) } }), output);
    const now = Math.floor(Date.now() / 1000);
    const overview = await askApprovals({ act: 'list' });
    const { contact } = await askAgent<AgentStatus>(runtimeDirectory(process.env), { command: 'status' });
    console.log(
      output === 'json' ? JSON.stringify({ ...overview, contact }, null, 2) : overviewText(overview, now, contact),
    );
  },
});
