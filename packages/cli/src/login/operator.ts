/**
 * Opens an operator session at a broker. The issuer authenticates the operator, and the access file assigns the
 * operator's roles.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { dpopKey, dpopThumbprint, operatorNonce } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { createDpopAuthenticator, createSender, type ResponseBody } from '../broker/send.ts';
import { readTextFile } from '../input/text-file.ts';
import { SessionFile, type StoredRefreshToken } from './session-file.ts';
import {
  type DeviceSignInOptions,
  type Issuer,
  revokeRefreshToken,
  type SignInOptions,
  signInWithBrowser,
  signInWithDevice,
} from './tokens.ts';

export interface OperatorLogin {
  /** The origin of the operator listener. */
  readonly operator: string;
  readonly caFile?: string | undefined;
  /** The name of the issuer in the access file. Required if there is more than one issuer. */
  readonly issuer?: string | undefined;
  readonly device: boolean;
  /**
   * The path to a file with a Kubernetes ServiceAccount token, used to sign in as the ServiceAccount instead of as a
   * person.
   */
  readonly serviceAccountToken?: string | undefined;
  readonly port: number;
  readonly patienceMs: number;
  readonly onUrl: SignInOptions['onUrl'];
  readonly onCode: DeviceSignInOptions['onCode'];
}

export interface OperatorLoginResult {
  readonly operator: Operator;
  /** When the session expires, in Unix seconds. */
  readonly expiresAt: number;
  /**
   * When an operator without a refresh token has to sign in again, in Unix seconds. Absent unless that is before
   * `expiresAt`.
   */
  readonly signInAgainAt?: number;
}

const Operator = z.object({
  kind: z.string(),
  issuer: z.string(),
  subject: z.string(),
  login: z.string(),
  roles: z.array(z.object({ role: z.string(), place: z.string() })),
});
export type Operator = z.infer<typeof Operator>;

const SignIns = z.object({
  broker: z.url(),
  issuers: z.array(
    z.object({
      name: z.string(),
      issuer: z.url(),
      client: z.string().min(1),
      scopes: z.array(z.string()),
      refresh: z.boolean(),
      consent: z.boolean(),
    }),
  ),
});
/** Matches a signed token (a compact JWS). */
export const OPERATOR_TOKEN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const Session = z.object({
  access_token: z.string().regex(OPERATOR_TOKEN),
  expires_in: z.number().positive(),
  confirm_in: z.number(),
  broker: z.url(),
  operator: Operator,
});

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/**
 * Signs in and stores the session.
 * @throws MeshpassError `usage`, `issuer_unavailable`, `proof_*`, `request_timeout`, `agent_broker_unreachable`, or the
 *   broker's errors `operator_no_role` and `operator_unauthorized`
 */
export async function loginOperator(login: OperatorLogin): Promise<OperatorLoginResult> {
  const offer = await createSender(login, () => ({}))('GET', '/operator/sign-in');
  const { broker, issuers } = await read(offer, SignIns, login);
  // Create a new key for every sign-in. The session and the nonce of the ID token are bound to this key.
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { token, type, refresh } = await proofOf(login, issuers, privateKey);
  const form = new URLSearchParams({ grant_type: EXCHANGE, subject_token: token, subject_token_type: type });
  try {
    const send = createSender(login, createDpopAuthenticator({ broker, key: dpopKey(privateKey) }));
    const session = await read(await send('POST', '/operator/session', form), Session, login);
    const now = Math.floor(Date.now() / 1000);
    const { broker: of, access_token, expires_in, confirm_in } = session;
    const opened = {
      broker: of,
      token: access_token,
      key: privateKey,
      expiresAt: now + expires_in,
      confirmUntil: now + confirm_in,
      ...(refresh && { refresh }),
    };
    const file = new SessionFile(login.operator);
    const replaced = await file.exclusively(async () => {
      const before = refreshIn(file);
      file.write(opened);
      return before;
    });
    if (replaced) await revokeRefreshToken(replaced);
    const { confirmUntil, expiresAt } = opened;
    const again = !refresh && confirmUntil < expiresAt;
    return { operator: session.operator, expiresAt, ...(again && { signInAgainAt: confirmUntil }) };
  } catch (thrown) {
    if (refresh) await revokeRefreshToken(refresh);
    throw thrown;
  }
}

/** Returns the refresh token of the session that is being replaced, if the file can be read. */
function refreshIn(file: SessionFile): StoredRefreshToken | undefined {
  try {
    return file.readRefresh();
  } catch {
    return undefined;
  }
}

async function proofOf(
  login: OperatorLogin,
  issuers: readonly (Issuer & { readonly name: string })[],
  key: KeyObject,
): Promise<{ readonly token: string; readonly type: string; readonly refresh?: StoredRefreshToken }> {
  const { serviceAccountToken: file, device, port, patienceMs, onUrl, onCode } = login;
  if (file !== undefined) return { token: readTextFile(file, '--service-account-token').trim(), type: JWT };
  const issuer = choose(issuers, login.issuer);
  const nonce = operatorNonce(dpopThumbprint(dpopKey(key).jwk));
  const { idToken, refreshToken } = device
    ? await signInWithDevice(issuer, { nonce, patienceMs, onCode })
    : await signInWithBrowser(issuer, { nonce, port, patienceMs, onUrl });
  const of = { name: issuer.name, issuer: issuer.issuer, client: issuer.client };
  return {
    token: idToken,
    type: ID_TOKEN,
    ...(refreshToken !== undefined && { refresh: { ...of, token: refreshToken } }),
  };
}

function choose<T extends { readonly name: string }>(issuers: readonly T[], name: string | undefined): T {
  const names = issuers.map((one) => one.name).join(', ');
  if (issuers.length === 0)
    throw new MeshpassError(
      'usage',
      'Operators cannot sign in at this broker: its access file has no "operators", or no issuer with "signIn".',
    );
  if (name === undefined && issuers.length > 1)
    throw new MeshpassError('usage', `Pass --issuer to select where to sign in: ${names}.`);
  const chosen = name === undefined ? issuers[0] : issuers.find((one) => one.name === name);
  if (!chosen)
    throw new MeshpassError('usage', `--issuer: operators of this broker sign in at ${names}, not at ${name}.`);
  return chosen;
}

/**
 * Reads and validates a response.
 * @throws MeshpassError `agent_broker_unreachable`
 */
async function read<T>(answer: ResponseBody, schema: z.ZodType<T>, { operator }: OperatorLogin): Promise<T> {
  const found = schema.safeParse(await answer.json());
  if (found.success) return found.data;
  throw new MeshpassError('agent_broker_unreachable', `The server at ${operator} is not a broker.`);
}
