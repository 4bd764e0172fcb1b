/**
 * Creates clients for the broker's operator API. They connect either to the operator listener with an operator's
 * session or token, or to the broker's public URL with the token of a CI job.
 */
import { MeshpassError } from '@meshpass/identity/error';
import {
  createDpopAuthenticator,
  createSender,
  type Method,
  type OperatorEndpoint,
  readJsonResponse,
  type Send,
} from '../broker/send.ts';
import { TOKEN_VARIABLE } from '../command/shared-flags.ts';
import { readTextFile } from '../input/text-file.ts';
import { type OperatorSession, SessionFile } from '../login/session-file.ts';
import { confirmOperator, deleteEndedSession } from './confirm-sign-in.ts';

export interface OperatorOptions extends OperatorEndpoint {
  /**
   * The path to a file that contains the operator token. Defaults to the value of MESHPASS_OPERATOR_TOKEN or, if that
   * is not set, to the session from `meshpass login`.
   */
  readonly operatorToken?: string;
}

const PATIENCE_MS = 30_000;
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
  const send = createOperatorSender(options, environment, PATIENCE_MS);
  return async (method, path, body) => await readJsonResponse(await send(method, path, body), options);
}

/**
 * Creates a client for requests of any kind. If a confirmation is due, the client has the issuer confirm the operator
 * before it sends the request.
 * @param patienceMs how long the broker may stay silent, in milliseconds
 * @throws MeshpassError with the same codes as createOperatorClient()
 */
export function createOperatorSender(
  options: OperatorOptions,
  environment: NodeJS.ProcessEnv,
  patienceMs: number,
): Send {
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
