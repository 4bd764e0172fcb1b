/**
 * Has the issuer confirm an operator, using the refresh token from `meshpass login` (OpenID Connect Core section 12).
 */
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { createDpopAuthenticator, createSender, type OperatorEndpoint, readJsonResponse } from '../broker/send.ts';
import { OPERATOR_TOKEN } from '../login/operator.ts';
import type { OperatorSession, SessionFile, StoredRefreshToken } from '../login/session-file.ts';
import { refreshTokens, revokeRefreshToken } from '../login/tokens.ts';

const Confirmed = z.object({
  access_token: z.string().regex(OPERATOR_TOKEN),
  expires_in: z.number(),
  confirm_in: z.number(),
});

const PATIENCE_MS = 30_000;
/** How long to wait before requesting a different ID token from the provider, in milliseconds. */
const NEXT_SECOND_MS = 1_100;
/** The error codes after which the refresh token is useless. */
const OVER = new Set<string>(['operator_no_role', 'sign_in_ended']);

/**
 * Has the issuer confirm an operator, unless another command has already done so.
 * @param seen the session that needs to be confirmed
 * @returns the session with its new token
 * @throws MeshpassError `operator_unconfirmed` if there is no refresh token or the issuer no longer accepts it,
 *   `issuer_unavailable`, or the error that the broker returns
 */
export async function confirmOperator(
  destination: OperatorEndpoint,
  file: SessionFile,
  seen: OperatorSession,
): Promise<OperatorSession> {
  if (!seen.refresh) throw unconfirmed('The session has no refresh token for the issuer to confirm your identity');
  return await file.exclusively(async () => {
    const session = file.read();
    if (!session || session.token !== seen.token || session.confirmUntil !== seen.confirmUntil) return session ?? seen;
    if (!session.refresh) throw unconfirmed('The issuer no longer accepts the refresh token');
    await confirm(destination, file, session, session.refresh).catch(async (thrown: unknown) => {
      // A provider that does not set `jti` may return the same ID token twice within one second. It may already have
      // been used by the operator's workspace or by another command.
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'proof_replayed') throw thrown;
      await setTimeout(NEXT_SECOND_MS);
      const { refresh } = file.read() ?? session;
      if (refresh) await confirm(destination, file, session, refresh);
    });
    return file.read() ?? session;
  });
}

/**
 * Requests new tokens, stores the new refresh token, and sends the ID token to the broker.
 * @throws MeshpassError with the same codes as confirmOperator()
 */
async function confirm(
  destination: OperatorEndpoint,
  file: SessionFile,
  session: OperatorSession,
  refresh: StoredRefreshToken,
): Promise<void> {
  const tokens = await refreshTokens(refresh);
  if (!tokens) {
    file.change(session, { refresh: undefined });
    throw unconfirmed(`${refresh.name} no longer confirms your identity`);
  }
  // Store the new refresh token before contacting the broker. The old one may already be invalid, and if it were used
  // again, the issuer might detect this and revoke the new one as well.
  const next = { ...refresh, token: tokens.refreshToken ?? refresh.token };
  file.change(session, { refresh: next });
  const send = createSender(destination, createDpopAuthenticator(session), PATIENCE_MS);
  try {
    const answer = await send('POST', '/operator/session/confirm', { id_token: tokens.idToken });
    const {
      access_token: token,
      expires_in,
      confirm_in,
    } = Confirmed.parse(await readJsonResponse(answer, destination));
    const now = Math.floor(Date.now() / 1000);
    file.change(session, { token, expiresAt: now + expires_in, confirmUntil: now + confirm_in });
  } catch (thrown) {
    if (thrown instanceof MeshpassError && OVER.has(thrown.code)) {
      file.change(session, { refresh: undefined });
      await revokeRefreshToken(next);
    }
    throw thrown;
  }
}

/**
 * Deletes a session that the broker has ended, and revokes its refresh token. First checks that the response came from
 * the broker that opened the session, rather than from another broker behind the same port-forward.
 */
export async function deleteEndedSession(
  destination: OperatorEndpoint,
  file: SessionFile,
  ended: OperatorSession,
): Promise<void> {
  try {
    const answer = await createSender(destination, () => ({}), PATIENCE_MS)('GET', '/operator/sign-in');
    if ((await readJsonResponse(answer, destination))?.broker !== ended.broker) return;
    await file.exclusively(async () => {
      const session = file.read();
      if (session?.token !== ended.token) return;
      file.remove();
      if (session.refresh) await revokeRefreshToken(session.refresh);
    });
  } catch {
    // Ignore the error. The next login or logout deletes the session.
  }
}

function unconfirmed(why: string): MeshpassError {
  return new MeshpassError('operator_unconfirmed', `${why}: run meshpass login.`);
}
