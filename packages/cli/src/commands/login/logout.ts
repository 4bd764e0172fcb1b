import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { output, STATE_ENV } from '../../command/shared-flags.ts';
import { originOf, ownFlags } from '../../login/operator-flags.ts';
import { revokeRefreshToken } from '../../login/refresh.ts';
import { exclusively, readOperatorSession, readRefresh, removeOperatorSession } from '../../login/session-file.ts';
import { isOfWorkspace, logoutWorkspace } from '../../login/workspace.ts';
import { bySession, createSend, type Destination } from '../../operator/send.ts';

export const command = defineCommand({
  about:
    'Where an agent runs and neither --operator nor another broker is named: ends the sign-ins of the workspace (docs/identity/sign-in.md), and the access that needs them. Elsewhere, or with --operator: ends your session of an operator, at the broker and in your state directory, and takes the refresh token back at the issuer.',
  flags: { ...ownFlags, output },
  exitCodes: { 0: 'signed out, or nobody was signed in' },
  env: STATE_ENV,
  examples: ['meshpass logout'],
  page: 'docs/install/operators.md',
  run: async ({ output, caFile, ...named }) => {
    if (await isOfWorkspace(process.env, named)) return await logoutWorkspace(process.env, output);
    const operator = originOf(named);
    const options = { operator, ...(caFile !== undefined && { caFile }) };
    const { session, refresh, revoked } = await exclusively(operator, process.env, () => signOut(options));
    if (revoked === false)
      console.error(`${refresh?.name} did not take the refresh token back: it is good there until it expires.`);
    if (output === 'json')
      console.log(JSON.stringify({ signed_out: session !== undefined, refresh_token_revoked: revoked ?? null }));
    else console.log(session ? 'Signed out.' : 'Nobody was signed in.');
  },
});

const PATIENCE_MS = 30_000;

async function signOut(options: Destination) {
  const { operator } = options;
  const session = readOperatorSession(operator, process.env);
  const refresh = readRefresh(operator, process.env);
  const revoked = refresh && (await revokeRefreshToken(refresh));
  if (session) {
    const send = createSend(options, bySession(session), PATIENCE_MS);
    await send('DELETE', '/operator/session').catch((thrown: unknown) => {
      // It is over already: that is what was asked for.
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'operator_session_ended') throw thrown;
    });
  }
  removeOperatorSession(operator, process.env);
  return { session, refresh, revoked };
}
