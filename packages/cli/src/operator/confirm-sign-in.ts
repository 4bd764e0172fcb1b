/** Has the issuer confirm an operator again, with the refresh token of `meshpass login`: OpenID Connect Core section 12. */
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { withLockFile } from '../login/lock-file.ts';
import { refreshTokens, revokeRefreshToken } from '../login/refresh.ts';
import { changeOperatorSession, lockOf, type OperatorSessionFile, readOperatorSession } from '../login/session-file.ts';
import { bySession, createSend, type Destination, jsonOf } from './send.ts';

const Confirmed = z.object({ expires_in: z.number(), confirm_in: z.number() });

const PATIENCE_MS = 30_000;
/** For another command that does the same. */
const LOCK_MS = 90_000;
/** What the broker says of somebody whose refresh token is of no use any more. */
const OVER = new Set<string>(['operator_no_role', 'sign_in_ended']);

/**
 * Another command may have done it meanwhile: then nothing is asked.
 * @param seen the session that was not confirmed
 * @throws MeshpassError `operator_unconfirmed` where the issuer has given no refresh token, or does not take it any more;
 *   `issuer_unavailable`, and what the broker answers
 */
export async function confirmOperator(
  destination: Destination,
  environment: NodeJS.ProcessEnv,
  seen: OperatorSessionFile,
): Promise<void> {
  const { operator } = destination;
  if (!seen.refresh) throw unconfirmed('The issuer gave no refresh token');
  await withLockFile(lockOf(operator, environment), LOCK_MS, async () => {
    const session = readOperatorSession(operator, environment);
    if (!session || session.token !== seen.token || session.confirmUntil !== seen.confirmUntil) return;
    const { refresh } = session;
    if (!refresh) throw unconfirmed('The issuer takes the refresh token no more');
    const tokens = await refreshTokens(refresh);
    if (!tokens) {
      changeOperatorSession(operator, { refresh: undefined }, environment);
      throw unconfirmed(`${refresh.name} does not confirm you any more`);
    }
    // Before the broker is asked: the one before may be worth nothing now, and whoever brings it again ends them all.
    const renewed = { ...refresh, token: tokens.refreshToken ?? refresh.token };
    changeOperatorSession(operator, { refresh: renewed }, environment);
    const send = createSend(destination, bySession(session), PATIENCE_MS);
    try {
      const answer = await send('POST', '/operator/session/confirm', { id_token: tokens.idToken });
      const { expires_in, confirm_in } = Confirmed.parse(await jsonOf(answer, destination));
      const now = Math.floor(Date.now() / 1000);
      changeOperatorSession(operator, { expiresAt: now + expires_in, confirmUntil: now + confirm_in }, environment);
    } catch (thrown) {
      if (thrown instanceof MeshpassError && OVER.has(thrown.code)) {
        changeOperatorSession(operator, { refresh: undefined }, environment);
        await revokeRefreshToken(renewed);
      }
      throw thrown;
    }
  });
}

function unconfirmed(why: string): MeshpassError {
  return new MeshpassError('operator_unconfirmed', `${why}: run meshpass login.`);
}
