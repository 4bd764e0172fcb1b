import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import type { Operator } from '../../login/operator.ts';
import { operatorClient } from '../../operator/client.ts';

interface WhoAmI {
  readonly operator: Operator;
  /** Null for the break-glass token, like `confirmed_until`. */
  readonly expires_at: string | null;
  readonly confirmed_until: string | null;
  readonly actions: readonly string[];
}

export const command = defineCommand({
  about:
    'Shows which entry in the access file gives you each role. In a workspace, use meshpass status to see the owner of its session.',
  flags: { ...operatorFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass whoami', 'meshpass whoami --output json'],
  page: 'docs/install/operators.md',
  run: async ({ output, ...options }) => {
    const found = (await operatorClient(options, process.env)('GET', '/operator/session')) as WhoAmI;
    if (output === 'json') {
      console.log(JSON.stringify(found, null, 2));
      return;
    }
    const { operator, expires_at: until, confirmed_until: confirmed, actions } = found;
    const times = [...(until ? [`until ${until}`] : []), ...(confirmed ? [`confirmed until ${confirmed}`] : [])];
    const roles = operator.roles.map(({ role, place }) => `  ${role}  (${place})`);
    console.log([`${operator.login} (${operator.subject})`, ...times].join(', '));
    console.log(['Roles:', ...(roles.length > 0 ? roles : ['  none: this is the break-glass token'])].join('\n'));
    console.log(['Allowed actions:', ...actions.map((action) => `  ${action}`)].join('\n'));
  },
});
