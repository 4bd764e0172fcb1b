import type { ApprovalRequest } from '@meshpass/identity/approval';
import { requestText } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';

import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

interface Listed {
  readonly requests: readonly ApprovalRequest[];
}

export const command = defineCommand({
  about: 'Newest first, with the state of each request.',
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass approvals list'],
  page: 'docs/access/approvals.md',
  run: async ({ output, ...options }) => {
    const { requests } = (await operatorClient(options, process.env)('GET', '/admin/approvals')) as Listed;
    if (output === 'json') console.log(JSON.stringify({ requests }, null, 2));
    else
      console.log(
        requests.map((one) => requestText(one, Math.floor(Date.now() / 1000))).join('\n') ||
          'No requests for approval.',
      );
  },
});
