/** The broker as an operator calls it, signed in or with a token, at its operator listener; or as a job calls it, at its public URL. */
import { MeshpassError } from '@meshpass/identity/error';
import { TOKEN_VARIABLE } from '../command/shared-flags.ts';
import { readTextFile } from '../input/text-file.ts';
import { type OperatorSessionFile, readOperatorSession } from '../login/session-file.ts';
import { confirmOperator, forgetEnded } from './confirm-sign-in.ts';
import { bySession, createSend, type Destination, jsonOf, type Method, type Send } from './send.ts';

export interface OperatorOptions extends Destination {
  /** File whose only line is the token; absent: MESHPASS_OPERATOR_TOKEN, else the session of meshpass login. */
  readonly operatorToken?: string;
}

const PATIENCE_MS = 30_000;
/** Before the end of what the issuer last confirmed, seconds: a request takes its time, too. */
const AHEAD_SECONDS = 5;

export type OperatorCall = (method: Method, path: string, body?: unknown) => Promise<unknown>;

/**
 * @param environment where the token is looked for when no file is named
 * @throws MeshpassError `usage` where there is no token or the URL is no origin; the call: what the broker answered,
 *   `confirmation_pending`, or `agent_broker_unreachable`
 */
export function operatorClient(options: OperatorOptions, environment: NodeJS.ProcessEnv): OperatorCall {
  const send = openOperator(options, environment, PATIENCE_MS);
  return async (method, path, body) => {
    const response = await send(method, path, body);
    const json = await jsonOf(response, options);
    if (json !== undefined && response.statusCode === 202) throwIfPending(json);
    return json;
  };
}

/** @param patienceMs how long the broker may be silent. @throws MeshpassError as `operatorClient` */
export function openOperator(options: OperatorOptions, environment: NodeJS.ProcessEnv, patienceMs: number): Send {
  const token = readToken(options.operatorToken, environment);
  if (token !== undefined) return createSend(options, () => ({ authorization: `Bearer ${token}` }), patienceMs);
  const session = sessionOf(options, environment);
  const send = createSend(options, bySession(session), patienceMs);
  return async (method, path, body) => {
    const before = readOperatorSession(options.operator, environment) ?? session;
    if (isDue(before)) await confirmOperator(options, environment, before);
    try {
      return await send(method, path, body);
    } catch (thrown) {
      const code = thrown instanceof MeshpassError ? thrown.code : undefined;
      if (code === 'operator_session_ended') await forgetEnded(options, environment, session);
      if (code !== 'operator_unconfirmed') throw thrown;
      // The clocks differ, or the access file wants it sooner now. Nothing was done yet.
      await confirmOperator(options, environment, readOperatorSession(options.operator, environment) ?? session);
      return await send(method, path, body);
    }
  };
}

function isDue({ confirmUntil, refresh }: OperatorSessionFile): boolean {
  return refresh !== undefined && confirmUntil !== undefined && confirmUntil - AHEAD_SECONDS <= Date.now() / 1000;
}

/** @throws MeshpassError `confirmation_pending` where it waits for a second person */
function throwIfPending({ confirmation }: Readonly<Record<string, unknown>>): void {
  const { id, expires_at: until } = (confirmation ?? {}) as { readonly id?: unknown; readonly expires_at?: unknown };
  if (typeof id !== 'string') return;
  throw new MeshpassError(
    'confirmation_pending',
    `Not done yet: another operator has to confirm it until ${until}: meshpass operators confirm ${id}`,
  );
}

/** @throws MeshpassError `usage` where nobody has signed in */
function sessionOf({ operator }: Destination, environment: NodeJS.ProcessEnv): OperatorSessionFile {
  const session = readOperatorSession(operator, environment);
  if (session) return session;
  throw new MeshpassError(
    'usage',
    `You are not signed in at ${operator}: run meshpass login. Where break-glass is on, --operator-token or ${TOKEN_VARIABLE} does, too.`,
  );
}

function readToken(file: string | undefined, environment: NodeJS.ProcessEnv): string | undefined {
  const token = (file === undefined ? environment[TOKEN_VARIABLE] : readTextFile(file, '--operator-token'))?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new MeshpassError('usage', `What is named as an operator token (--operator-token, ${TOKEN_VARIABLE}) is none.`);
}
