import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { output, STATE_ENV } from '../../command/shared-flags.ts';
import { originOf, ownFlags } from '../../login/operator-flags.ts';
import { readOperatorSession, removeOperatorSession } from '../../login/session-file.ts';
import { isOfWorkspace, logoutWorkspace } from '../../login/workspace.ts';
import { operatorClient } from '../../operator/client.ts';

export const command = defineCommand({
  about:
    'Where an agent runs and neither --operator nor another broker is named: ends the sign-ins of the workspace (docs/identity/sign-in.md), and the access that needs them. Elsewhere, or with --operator: ends your session of an operator, at the broker and in your state directory.',
  flags: { ...ownFlags, output },
  exitCodes: { 0: 'signed out, or nobody was signed in' },
  env: STATE_ENV,
  examples: ['meshpass logout'],
  page: 'docs/install/operators.md',
  run: async ({ output, caFile, ...options }) => {
    if (await isOfWorkspace(process.env, options)) return await logoutWorkspace(process.env, output);
    const operator = originOf(options);
    const session = readOperatorSession(operator, process.env);
    if (session) {
      const call = operatorClient({ operator, ...(caFile !== undefined && { caFile }) }, stateOnly(process.env));
      await call('DELETE', '/operator/session').catch((thrown: unknown) => {
        // It is over already: that is what was asked for.
        if (!(thrown instanceof MeshpassError) || thrown.code !== 'operator_session_ended') throw thrown;
      });
    }
    removeOperatorSession(operator, process.env);
    if (output === 'json') console.log(JSON.stringify({ signed_out: session !== undefined }));
    else console.log(session ? 'Signed out.' : 'Nobody was signed in.');
  },
});

/** Without a token of the environment: it is the session that ends. */
function stateOnly({ MESHPASS_OPERATOR_TOKEN: _, ...rest }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return rest;
}
