/** Has the issuer confirm an operator again, with the refresh token of `meshpass login`: OpenID Connect Core section 12. */
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { refreshTokens, revokeRefreshToken } from '../login/refresh.ts';
import {
  changeOperatorSession,
  exclusively,
  type OperatorSessionFile,
  type Refresh,
  readOperatorSession,
  removeOperatorSession,
} from '../login/session-file.ts';
import { bySession, createSend, type Destination, jsonOf } from './send.ts';

const Confirmed = z.object({ expires_in: z.number(), confirm_in: z.number() });

const PATIENCE_MS = 30_000;
/** After which no provider gives the same ID token again. */
const NEXT_SECOND_MS = 1_100;
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
  if (!seen.refresh) throw unconfirmed('There is no refresh token by which the issuer could confirm you');
  await exclusively(operator, environment, async () => {
    const session = readOperatorSession(operator, environment);
    if (!session || session.token !== seen.token || session.confirmUntil !== seen.confirmUntil) return;
    if (!session.refresh) throw unconfirmed('The issuer takes the refresh token no more');
    await confirm(destination, environment, session, session.refresh).catch(async (thrown: unknown) => {
      // In one second a provider that gives no `jti` may give the same ID token twice: the person's workspace, or another command, had it.
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'proof_replayed') throw thrown;
      await setTimeout(NEXT_SECOND_MS);
      const { refresh } = readOperatorSession(operator, environment) ?? session;
      if (refresh) await confirm(destination, environment, session, refresh);
    });
  });
}

/** Refreshes, keeps the new refresh token, and shows the broker the ID token. @throws MeshpassError as confirmOperator() */
async function confirm(
  destination: Destination,
  environment: NodeJS.ProcessEnv,
  session: OperatorSessionFile,
  refresh: Refresh,
): Promise<void> {
  const { operator } = destination;
  const tokens = await refreshTokens(refresh);
  if (!tokens) {
    changeOperatorSession(operator, session, { refresh: undefined }, environment);
    throw unconfirmed(`${refresh.name} does not confirm you any more`);
  }
  // Before the broker is asked: the one before may be worth nothing now, and whoever brings it again ends them all.
  const renewed = { ...refresh, token: tokens.refreshToken ?? refresh.token };
  changeOperatorSession(operator, session, { refresh: renewed }, environment);
  const send = createSend(destination, bySession(session), PATIENCE_MS);
  try {
    const answer = await send('POST', '/operator/session/confirm', { id_token: tokens.idToken });
    const { expires_in, confirm_in } = Confirmed.parse(await jsonOf(answer, destination));
    const now = Math.floor(Date.now() / 1000);
    const times = { expiresAt: now + expires_in, confirmUntil: now + confirm_in };
    changeOperatorSession(operator, session, times, environment);
  } catch (thrown) {
    // A broker of an earlier version has taken over, or was gone back to: it asks for no confirmation.
    if (thrown instanceof MeshpassError && thrown.code === 'not_found')
      return changeOperatorSession(operator, session, { confirmUntil: undefined }, environment);
    if (thrown instanceof MeshpassError && OVER.has(thrown.code)) {
      changeOperatorSession(operator, session, { refresh: undefined }, environment);
      await revokeRefreshToken(renewed);
    }
    throw thrown;
  }
}

/**
 * A broker says that a session is over. If it is the broker of this session, and not another one behind the same port-forward, what is kept is
 * of no use any more, and the refresh token is taken back.
 */
export async function forgetEnded(
  destination: Destination,
  environment: NodeJS.ProcessEnv,
  ended: OperatorSessionFile,
): Promise<void> {
  const { operator } = destination;
  try {
    const answer = await createSend(destination, () => ({}), PATIENCE_MS)('GET', '/operator/sign-in');
    if ((await jsonOf(answer, destination))?.broker !== ended.broker) return;
    await exclusively(operator, environment, async () => {
      const session = readOperatorSession(operator, environment);
      if (session?.token !== ended.token) return;
      removeOperatorSession(operator, environment);
      if (session.refresh) await revokeRefreshToken(session.refresh);
    });
  } catch {
    // The next login, or logout, does it.
  }
}

function unconfirmed(why: string): MeshpassError {
  return new MeshpassError('operator_unconfirmed', `${why}: run meshpass login.`);
}
