import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { text } from '../../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about:
    'The operator can sign in again as long as the access file gives them a role. Requires exactly one of --id and --subject.',
  flags: {
    id: text('<id>', 'session ID, from meshpass operators list'),
    subject: text('<subject>', 'close every session of this person or ServiceAccount, such as okta:00u1'),
    reason: text('<text>', 'reason for the audit log'),
    ...operatorFlags,
    output,
  },
  exitCodes: { 0: 'closed', 1: 'no operator can have this ID or subject, or the broker rejected the request' },
  env: TOKEN_ENV,
  examples: ['meshpass operators close --subject okta:00u1 --reason "left the team"'],
  page: 'docs/install/operators.md',
  run: async ({ id, subject, reason, output, ...options }) => {
    if ((id === undefined) === (subject === undefined))
      throw new MeshpassError('usage', 'Pass exactly one of --id and --subject.');
    const call = operatorClient(options, process.env);
    const { closed } = (await call('POST', '/operator/sessions/close', { id, subject, reason })) as {
      readonly closed: readonly string[];
    };
    if (output === 'json') console.log(JSON.stringify({ closed }));
    else if (closed.length === 0)
      console.log('Closed every session. The broker has not seen any of them since it started.');
    else console.log(`Closed ${closed.length === 1 ? '1 session' : `${closed.length} sessions`}: ${closed.join(', ')}`);
  },
});
