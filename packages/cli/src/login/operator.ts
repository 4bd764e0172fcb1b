/** Opens a session of an operator with a broker: who you are says your issuer, what you may the access file. */
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text as textOf } from 'node:stream/consumers';
import { createDpopProof, dpopKey, dpopThumbprint, operatorNonce } from '@meshpass/identity/dpop';
import { MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { refusalIn } from '../broker/refusal.ts';
import { readTextFile } from '../input/text-file.ts';
import { type DeviceOptions, type Issuer, type SignInOptions, tokensByBrowser, tokensByDevice } from './id-token.ts';
import { revokeRefreshToken } from './refresh.ts';
import { exclusively, type Refresh, readRefresh, writeOperatorSession } from './session-file.ts';

export interface OperatorLogin {
  /** Origin of the operator listener. */
  readonly operator: string;
  readonly caFile?: string | undefined;
  /** Name in the access file; needed where there are several. */
  readonly issuer?: string | undefined;
  readonly device: boolean;
  /** File with the token of a Kubernetes ServiceAccount, in place of a person. */
  readonly serviceAccountToken?: string | undefined;
  readonly port: number;
  readonly patienceMs: number;
  readonly onUrl: SignInOptions['onUrl'];
  readonly onCode: DeviceOptions['onCode'];
}

export interface LoggedIn {
  readonly operator: Operator;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** Unix seconds at which a person has to sign in again, because no refresh token confirms them; absent: not before the end. */
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
      ...{ name: z.string(), issuer: z.url(), client: z.string().min(1), scopes: z.array(z.string()) },
      ...{ refresh: z.boolean().default(false), consent: z.boolean().default(true) },
    }),
  ),
});
const Session = z.object({
  access_token: z.string().regex(/^mpo_[A-Za-z0-9_-]{43}$/),
  expires_in: z.number().positive(),
  confirm_in: z.number().optional(),
  broker: z.url(),
  operator: Operator,
});

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const PATIENCE_MS = 30_000;
const MAX_ANSWER = 1024 * 1024;

/**
 * @throws MeshpassError `usage`, `issuer_unavailable`, `proof_*`, `request_timeout`, `agent_broker_unreachable`, and what the broker
 *   answers: `operator_no_role`, `operator_unauthorized`
 */
export async function loginOperator(login: OperatorLogin, environment: NodeJS.ProcessEnv): Promise<LoggedIn> {
  if (!/^https?:\/\/[^/]+\/?$/.test(login.operator) || !URL.canParse(login.operator))
    throw new MeshpassError(
      'usage',
      `--operator must be an origin such as http://127.0.0.1:9090, not ${login.operator}.`,
    );
  const { broker, issuers } = await ask(login, 'GET', '/operator/sign-in', SignIns);
  // A key of this sign-in alone: the ID token is made for it, and the session bound to it.
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { token, type, refresh } = await proofOf(login, issuers, privateKey);
  const path = '/operator/session';
  const proof = createDpopProof({
    ...{ key: dpopKey(privateKey), method: 'POST', url: new URL(path, broker).href },
    ...{ now: Math.floor(Date.now() / 1000), jti: randomUUID() },
  });
  const form = new URLSearchParams({ grant_type: EXCHANGE, subject_token: token, subject_token_type: type });
  try {
    const session = await ask(login, 'POST', path, Session, form.toString(), proof);
    const now = Math.floor(Date.now() / 1000);
    const { broker: of, access_token, expires_in, confirm_in } = session;
    const opened = {
      ...{ broker: of, token: access_token, key: privateKey, expiresAt: now + expires_in },
      ...(confirm_in !== undefined && { confirmUntil: now + confirm_in }),
      ...(refresh && { refresh }),
    };
    const replaced = await exclusively(login.operator, environment, async () => {
      const before = refreshOf(login.operator, environment);
      writeOperatorSession(login.operator, opened, environment);
      return before;
    });
    if (replaced) await revokeRefreshToken(replaced);
    const { confirmUntil, expiresAt } = opened;
    const again = !refresh && confirmUntil !== undefined && confirmUntil < expiresAt;
    return { operator: session.operator, expiresAt, ...(again && { signInAgainAt: confirmUntil }) };
  } catch (thrown) {
    if (refresh) await revokeRefreshToken(refresh);
    throw thrown;
  }
}

/** Of a session that this one replaces. What cannot be read is replaced all the same. */
function refreshOf(operator: string, environment: NodeJS.ProcessEnv): Refresh | undefined {
  try {
    return readRefresh(operator, environment);
  } catch {
    return undefined;
  }
}

async function proofOf(
  login: OperatorLogin,
  issuers: readonly (Issuer & { readonly name: string })[],
  key: KeyObject,
): Promise<{ readonly token: string; readonly type: string; readonly refresh?: Refresh }> {
  const { serviceAccountToken: file, device, port, patienceMs, onUrl, onCode } = login;
  if (file !== undefined) return { token: readTextFile(file, '--service-account-token').trim(), type: JWT };
  const issuer = choose(issuers, login.issuer);
  const nonce = operatorNonce(dpopThumbprint(dpopKey(key).jwk));
  const { idToken, refreshToken } = device
    ? await tokensByDevice(issuer, { nonce, patienceMs, onCode })
    : await tokensByBrowser(issuer, { nonce, port, patienceMs, onUrl });
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
      'Nobody can sign in at this broker: its access file has no "operators", or no issuer with "signIn".',
    );
  if (name === undefined && issuers.length > 1)
    throw new MeshpassError('usage', `Say where you sign in (--issuer): ${names}.`);
  const chosen = name === undefined ? issuers[0] : issuers.find((one) => one.name === name);
  if (!chosen)
    throw new MeshpassError('usage', `--issuer: this broker has nobody sign in at ${name}; it has ${names}.`);
  return chosen;
}

async function ask<T>(
  { operator, caFile }: Pick<OperatorLogin, 'operator' | 'caFile'>,
  method: 'GET' | 'POST',
  path: string,
  schema: z.ZodType<T>,
  form?: string,
  proof?: string,
): Promise<T> {
  const url = new URL(path, operator);
  const unreachable = (cause?: unknown) =>
    new MeshpassError(
      'agent_broker_unreachable',
      `No broker answers at ${url.origin}: is the port-forward running? It ends when the active broker changes.`,
      { cause },
    );
  const ca = caFile === undefined ? undefined : readTextFile(caFile, '--ca-file');
  const headers = {
    ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
    ...(proof !== undefined && { dpop: proof }),
  };
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const sent = send(url, { method, headers, agent: false, timeout: PATIENCE_MS, ...(ca && { ca }) }, (response) => {
      textOf(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer')));
    sent.on('error', reject);
    sent.end(form);
  }).catch((cause) => Promise.reject(unreachable(cause)));
  const json = answer.text.length > MAX_ANSWER ? undefined : parse(answer.text);
  if (answer.status === 200) {
    const read = schema.safeParse(json);
    if (read.success) return read.data;
  }
  throw refusalIn(json) ?? unreachable();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
