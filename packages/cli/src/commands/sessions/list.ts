import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { findSessions, selectorFlags } from '../../operator/sessions.ts';
import { sessionsTable } from '../../operator/sessions-table.ts';

export const command = defineCommand({
  flags: { ...selectorFlags, ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass sessions list --grant payments-dev', 'meshpass sessions list --output json'],
  page: 'docs/operating-broker.md',
  run: async ({ output, ...options }) => {
    const sessions = await findSessions(options);
    if (output === 'json') console.log(JSON.stringify({ sessions }, null, 2));
    else console.log(sessions.length > 0 ? sessionsTable(sessions, Date.now()) : 'No live sessions.');
  },
});
