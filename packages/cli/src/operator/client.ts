/**
 * Creates clients for the broker's operator API. They connect either to the operator listener with an operator's
 * session or token, or to the broker's public URL with the token of a CI job.
 */
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import {
  createDpopAuthenticator,
  createSender,
  type Method,
  type OperatorEndpoint,
  type Send,
} from '../broker/operator-requests.ts';
import { TOKEN_VARIABLE } from '../command/shared-flags.ts';
import { readTextFile } from '../input/files.ts';
import { OPERATOR_TOKEN, type OperatorSession, SessionFile, type StoredRefreshToken } from '../login/session-file.ts';
import { refreshTokens, revokeRefreshToken } from '../login/tokens.ts';

export interface OperatorOptions extends OperatorEndpoint {
  /**
   * The path to a file that contains the operator token. Defaults to the value of MESHPASS_OPERATOR_TOKEN or, if that
   * is not set, to the session from `meshpass login`.
   */
  readonly operatorToken?: string;
}

/**
 * How long the broker may take to start answering a request about the audit log, in milliseconds. It may first have to
 * sign a checkpoint or prune rows.
 */
const AUDIT_PATIENCE_MS = 10 * 60_000;
/** How long before the deadline the operator is confirmed, in seconds. This leaves time for the request itself. */
const AHEAD_SECONDS = 5;

export type OperatorCall = (method: Method, path: string, body?: unknown) => Promise<unknown>;

/**
 * Creates a client for JSON requests.
 * @param environment the environment variables that may contain the token if no file is specified
 * @throws MeshpassError `usage` if there is no token or the URL is not an origin. Calls throw
 *   `agent_broker_unreachable` or the error that the broker returns
 */
export function createOperatorClient(options: OperatorOptions, environment = process.env): OperatorCall {
  const send = createOperatorSender(options, environment);
  return async (method, path, body) => await (await send(method, path, body)).json();
}

/**
 * Creates a client for requests about the audit log.
 * @throws MeshpassError with the same codes as createOperatorClient()
 */
export function createAuditClient(options: OperatorOptions): Send {
  return createOperatorSender(options, process.env, AUDIT_PATIENCE_MS);
}

/**
 * Creates a client for requests of any kind. If a confirmation is due, the client has the issuer confirm the operator
 * before it sends the request.
 * @param patienceMs how long the broker may stay silent, in milliseconds
 * @throws MeshpassError with the same codes as createOperatorClient()
 */
function createOperatorSender(options: OperatorOptions, environment: NodeJS.ProcessEnv, patienceMs?: number): Send {
  const token = readToken(options.operatorToken, environment);
  if (token !== undefined) return createSender(options, () => ({ authorization: `Bearer ${token}` }), patienceMs);
  const file = new SessionFile(options.operator, environment);
  const stored = file.read();
  if (!stored)
    throw new MeshpassError(
      'usage',
      `You are not signed in at ${options.operator}. Run meshpass login. If break-glass is on, you can also pass --operator-token or set ${TOKEN_VARIABLE}.`,
    );
  let session = stored;
  const send = createSender(options, (method, url) => createDpopAuthenticator(session)(method, url), patienceMs);
  return async (method, path, body) => {
    session = file.read() ?? session;
    if (isDue(session)) session = await confirmOperator(options, file, session);
    try {
      return await send(method, path, body);
    } catch (thrown) {
      const code = thrown instanceof MeshpassError ? thrown.code : undefined;
      if (code === 'operator_session_ended') await deleteEndedSession(options, file, session);
      if (code !== 'operator_unconfirmed') throw thrown;
      // The broker's clock differs from the local one. It has not executed the request, so it is safe to send the
      // request again.
      session = await confirmOperator(options, file, file.read() ?? session);
      return await send(method, path, body);
    }
  };
}

function isDue({ confirmUntil, refresh }: OperatorSession): boolean {
  return refresh !== undefined && confirmUntil - AHEAD_SECONDS <= Date.now() / 1000;
}

function readToken(file: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  const token = (file === undefined ? environment[TOKEN_VARIABLE] : readTextFile(file, '--operator-token'))?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new MeshpassError('usage', `The value of --operator-token or ${TOKEN_VARIABLE} is not an operator token.`);
}

const Confirmed = z.object({
  access_token: z.string().regex(OPERATOR_TOKEN),
  expires_in: z.number(),
  confirm_in: z.number(),
});

/** How long to wait before requesting a different ID token from the provider, in milliseconds. */
const NEXT_SECOND_MS = 1_100;
/** The error codes after which the refresh token is useless. */
const OVER = new Set<string>(['operator_no_role', 'sign_in_ended']);

/**
 * Has the issuer confirm an operator, using the refresh token from `meshpass login` (OpenID Connect Core section 12),
 * unless another command has already done so.
 * @param seen the session that needs to be confirmed
 * @returns the session with its new token
 * @throws MeshpassError `operator_unconfirmed` if there is no refresh token or the issuer no longer accepts it,
 *   `issuer_unavailable`, or the error that the broker returns
 */
async function confirmOperator(
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
  const send = createSender(destination, createDpopAuthenticator(session));
  try {
    const answer = await send('POST', '/operator/session/confirm', { id_token: tokens.idToken });
    const { access_token: token, expires_in, confirm_in } = Confirmed.parse(await answer.json());
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
async function deleteEndedSession(
  destination: OperatorEndpoint,
  file: SessionFile,
  ended: OperatorSession,
): Promise<void> {
  try {
    const answer = await createSender(destination, () => ({}))('GET', '/operator/sign-in');
    if ((await answer.json())?.broker !== ended.broker) return;
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
