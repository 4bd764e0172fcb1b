import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { text } from '../command/flag.ts';
import { operatorFlags, output, TOKEN_ENV } from '../command/shared-flags.ts';
import { createOperatorClient } from '../operator/client.ts';
import { formatTable } from '../output/table.ts';
import type { Operator } from './login.ts';
import { formatClosedSessions } from './sessions.ts';

const COLUMNS = ['id', 'login', 'subject', 'roles', 'source', 'confirmed_at', 'expires_at'];
const shared = { env: TOKEN_ENV, page: 'docs/install/operators.md' };

export const commands = {
  list: defineCommand({
    flags: { ...operatorFlags, output },
    examples: ['meshpass operators list', 'meshpass operators list --output json'],
    ...shared,
    run: async (options) => {
      const answer = await createOperatorClient(options)('GET', '/operator/sessions');
      const { sessions } = answer as { readonly sessions: readonly Operator[] };
      const none = ['The broker has not seen any operators since it started.'];
      const rows = sessions.map((one) => ({ ...one, roles: one.roles.map(({ role }) => role) }));
      return { json: { sessions }, text: () => (rows.length === 0 ? none : formatTable(rows, COLUMNS)) };
    },
  }),
  close: defineCommand({
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
    examples: ['meshpass operators close --subject okta:00u1 --reason "left the team"'],
    ...shared,
    run: async ({ id, subject, reason, ...options }) => {
      if ((id === undefined) === (subject === undefined))
        throw new MeshpassError('usage', 'Pass exactly one of --id and --subject.');
      const answer = await createOperatorClient(options)('POST', '/operator/sessions/close', { id, subject, reason });
      const { closed } = answer as { readonly closed: readonly string[] };
      const unseen = 'Closed every session. The broker has not seen any of them since it started.';
      return { json: { closed }, text: () => [closed.length === 0 ? unseen : formatClosedSessions(closed)] };
    },
  }),
  roles: defineCommand({
    about: 'Lists every action at this broker, with the roles that may perform it.',
    flags: { ...operatorFlags, output },
    examples: ['meshpass operators roles'],
    ...shared,
    run: async (options) => {
      const { actions } = (await createOperatorClient(options)('GET', '/operator/roles')) as {
        readonly actions: readonly object[];
      };
      return { json: { actions }, text: () => formatTable(actions, ['action', 'roles']) };
    },
  }),
};
