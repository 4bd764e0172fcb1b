import { MeshpassError } from '@meshpass/identity/error';
import { byKey, createSend, type Destination } from '../../broker/send.ts';
import { defineCommand } from '../../command/define.ts';
import { operatorFlags, output, STATE_ENV } from '../../command/shared-flags.ts';
import { revokeRefreshToken } from '../../login/refresh.ts';
import { exclusively, readOperatorSession, readRefresh, removeOperatorSession } from '../../login/session-file.ts';

export const command = defineCommand({
  about:
    'Ends your session at the broker, deletes it from your state directory, and revokes the refresh token at the issuer. In a workspace, use meshpass sign-out to end its sign-ins.',
  flags: { operator: operatorFlags.operator, caFile: operatorFlags.caFile, output },
  exitCodes: { 0: 'signed out, or not signed in' },
  env: STATE_ENV,
  examples: ['meshpass logout'],
  page: 'docs/install/operators.md',
  run: async ({ output, caFile, operator }) => {
    const options = { operator, ...(caFile !== undefined && { caFile }) };
    const { session, refresh, revoked } = await exclusively(operator, process.env, () => signOut(options));
    if (revoked === false)
      console.error(`${refresh?.name} did not revoke the refresh token, which remains valid until it expires.`);
    if (output === 'json')
      console.log(JSON.stringify({ signed_out: session !== undefined, refresh_token_revoked: revoked ?? null }));
    else console.log(session ? 'Signed out.' : 'You were not signed in.');
  },
});

const PATIENCE_MS = 30_000;

async function signOut(options: Destination) {
  const { operator } = options;
  const session = readOperatorSession(operator, process.env);
  const refresh = readRefresh(operator, process.env);
  const revoked = refresh && (await revokeRefreshToken(refresh));
  if (session) {
    const send = createSend(options, byKey(session), PATIENCE_MS);
    await send('DELETE', '/operator/session').catch((thrown: unknown) => {
      // The session has already ended, as requested.
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'operator_session_ended') throw thrown;
    });
  }
  removeOperatorSession(operator, process.env);
  return { session, refresh, revoked };
}
