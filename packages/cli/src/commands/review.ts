import { askApprovals } from '../approvals/agent.ts';
import { reviewArgs, reviewFlags, reviewOrder } from '../approvals/review-order.ts';
import { requestText } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'With the identity of this workspace. What you are is asked of GitHub anew. Never your own emergency. An objection ends the access at once, ' +
    'and whoever took it can take no other until somebody accepts it after all.',
  args: reviewArgs,
  flags: { ...reviewFlags, output },
  env: AGENT_ENV,
  exitCodes: { 1: 'refused: there is nothing to review, or you may not' },
  examples: [
    'meshpass review 0123456789abcdef01234567 --accept --reason "the database was down"',
    'meshpass review 0123456789abcdef01234567 --object --reason "no incident of that number"',
  ],
  page: 'docs/access/approvals.md',
  run: async ({ output, ...given }) => {
    const reviewed = await askApprovals({ act: 'review', order: reviewOrder(given) });
    console.log(
      output === 'json' ? JSON.stringify(reviewed, null, 2) : requestText(reviewed, Math.floor(Date.now() / 1000)),
    );
  },
});
