import { askApprovals } from '../approvals/agent.ts';
import { readRequestId } from '../approvals/order.ts';
import { overviewText, requestText } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { text } from '../command/flag.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about: 'Those of this session, those that you may answer, and the grants that you can ask for.',
  flags: { withdraw: text('<id>', 'take back this request; a grant that it gave is lost at once'), output },
  env: AGENT_ENV,
  examples: ['meshpass requests', 'meshpass requests --withdraw 0123456789abcdef01234567'],
  page: 'docs/access/approvals.md',
  run: async ({ withdraw, output }) => {
    const now = Math.floor(Date.now() / 1000);
    if (withdraw !== undefined) {
      const withdrawn = await askApprovals({ act: 'withdraw', id: readRequestId(withdraw) });
      console.log(output === 'json' ? JSON.stringify(withdrawn, null, 2) : requestText(withdrawn, now));
      return;
    }
    const overview = await askApprovals({ act: 'list' });
    console.log(output === 'json' ? JSON.stringify(overview, null, 2) : overviewText(overview, now));
  },
});
