import { defineCommand } from '../../command/define.ts';
import { output, TOKEN_ENV } from '../../command/shared-flags.ts';
import type { Operator } from '../../login/operator.ts';
import { originOf, ownFlags } from '../../login/operator-flags.ts';
import { isOfWorkspace, whoamiWorkspace } from '../../login/workspace.ts';
import { operatorClient } from '../../operator/client.ts';

interface WhoAmI {
  readonly operator: Operator;
  readonly expires_at: string | null;
  /** Absent: of a broker that asks for no confirmation. */
  readonly confirmed_until?: string | null;
  readonly actions: readonly string[];
}

export const command = defineCommand({
  about:
    'Where an agent runs and neither --operator nor another broker is named: whose session the workspace has, and its sign-ins. Elsewhere, or with --operator: who you are as an operator, which entry of the access file gives you a role, and what you may do.',
  flags: { ...ownFlags, output },
  env: TOKEN_ENV,
  examples: ['meshpass whoami', 'meshpass whoami --output json'],
  page: 'docs/install/operators.md',
  run: async ({ output, caFile, ...options }) => {
    if (await isOfWorkspace(process.env, options)) return await whoamiWorkspace(process.env, output);
    const call = operatorClient({ operator: originOf(options), ...(caFile !== undefined && { caFile }) }, process.env);
    const found = (await call('GET', '/operator/session')) as WhoAmI;
    if (output === 'json') {
      console.log(JSON.stringify(found, null, 2));
      return;
    }
    const { operator, expires_at: until, confirmed_until: confirmed, actions } = found;
    const times = [...(until ? [`until ${until}`] : []), ...(confirmed ? [`confirmed until ${confirmed}`] : [])];
    const roles = operator.roles.map(({ role, place }) => `  ${role}  (${place})`);
    console.log([`${operator.login} (${operator.subject})`, ...times].join(', '));
    console.log(['Roles:', ...(roles.length > 0 ? roles : ['  none: this is the break-glass token'])].join('\n'));
    console.log(['May:', ...actions.map((action) => `  ${action}`)].join('\n'));
  },
});
