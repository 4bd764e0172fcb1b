import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import type { Operator } from '../../login/operator.ts';
import { operatorClient } from '../../operator/client.ts';

interface Listed extends Operator {
  readonly id: string;
  readonly source: string | null;
  readonly opened_at: string;
  readonly expires_at: string;
  /** When the issuer last confirmed the person. */
  readonly confirmed_at: string;
}

export const command = defineCommand({
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass operators list', 'meshpass operators list --output json'],
  page: 'docs/install/operators.md',
  run: async ({ output, ...options }) => {
    const answer = await operatorClient(options, process.env)('GET', '/operator/sessions');
    const { sessions } = answer as { readonly sessions: readonly Listed[] };
    if (output === 'json') console.log(JSON.stringify({ sessions }, null, 2));
    else if (sessions.length === 0) console.log('The broker has not seen any operators since it started.');
    else for (const one of sessions) console.log(line(one));
  },
});

function line({ id, login, subject, roles, source, confirmed_at: confirmed, expires_at: until }: Listed): string {
  const held = roles.map(({ role }) => role).join(', ');
  return [
    id,
    `${login} (${subject})`,
    held,
    `from ${source ?? 'unknown'}`,
    `confirmed ${confirmed}`,
    `until ${until}`,
  ].join('  ');
}
