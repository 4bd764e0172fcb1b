import type { ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { readRequestId } from '../../approvals/input.ts';
import { printRequest } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { argument } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about: 'Shows the requester, the grant, the reason and each answer.',
  args: { id: argument('request ID, from meshpass approvals list') },
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass approvals show 0123456789abcdef01234567'],
  page: 'docs/access/approvals.md',
  run: async ({ id, output, ...options }) => {
    const requestId = readRequestId(id, 'meshpass approvals list');
    const call = operatorClient(options, process.env);
    const path = `/admin/approvals?id=${requestId}`;
    const [answer] = ((await call('GET', path)) as { readonly requests: readonly ApprovalRequest[] }).requests;
    if (!answer) throw new MeshpassError('approval_unknown', `Request ${id} does not exist.`);
    printRequest(answer, output);
  },
});
