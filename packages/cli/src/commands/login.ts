import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { dpopKey, dpopThumbprint, MeshpassError, operatorNonce } from '@meshpass/identity';
import { z } from 'zod';
import {
  createDpopAuthenticator,
  createSender,
  type OperatorEndpoint,
  type ResponseBody,
} from '../broker/operator-requests.ts';
import { openBrowser } from '../browser/redirect.ts';
import { defineCommand } from '../command/define.ts';
import { negatedFlag, type OptionsOf, port, text, toggle } from '../command/flag.ts';
import { type Answer, printErrorLines } from '../command/outcome.ts';
import { operatorFlags, output, STATE_ENV, TOKEN_ENV } from '../command/shared-flags.ts';
import { readTextFile } from '../input/files.ts';
import { OPERATOR_TOKEN, SessionFile, type StoredRefreshToken } from '../login/session-file.ts';
import { type Issuer, revokeRefreshToken, signInWithBrowser, signInWithDevice, type Tokens } from '../login/tokens.ts';
import { createOperatorClient } from '../operator/client.ts';

const loginFlags = {
  operator: operatorFlags.operator,
  caFile: operatorFlags.caFile,
  issuer: text('<name>', 'issuer to sign in at, by its name in the access file; required if there are several'),
  device: toggle('sign in on another device, with a code (RFC 8628)'),
  browser: negatedFlag('print the URL instead of opening a browser'),
  port: port('<port>', 'port of the page on 127.0.0.1 that the issuer redirects the browser to; 0: any', {
    default: '0',
  }),
  serviceAccountToken: text(
    '<file>',
    "file with a Kubernetes ServiceAccount token for the broker's audience, to sign in as a ServiceAccount instead of a person",
    { env: 'MESHPASS_SERVICE_ACCOUNT_TOKEN_FILE' },
  ),
  output,
};

type LoginOptions = OptionsOf<typeof loginFlags>;

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
const Session = z.object({
  access_token: z.string().regex(OPERATOR_TOKEN),
  expires_in: z.number().positive(),
  confirm_in: z.number(),
  broker: z.url(),
  operator: Operator,
});

interface WhoAmI {
  readonly operator: Operator;
  /** Both `expires_at` and `confirmed_until` are null for the break-glass token. */
  readonly expires_at: string | null;
  readonly confirmed_until: string | null;
  readonly actions: readonly string[];
}

export const commands = {
  login: defineCommand({
    about:
      'Opens an operator session. Your issuer authenticates you, and "operators" in the access file defines what you may do. The session is bound to a key in your state directory. Every few minutes, the issuer confirms your identity with a refresh token that is also stored there. The session ends after an hour unless the access file sets a different limit. In a workspace, use meshpass sign-in to add a sign-in to the workspace session.',
    flags: loginFlags,
    env: STATE_ENV,
    examples: ['meshpass login', 'meshpass login --issuer okta --device'],
    page: 'docs/install/operators.md',
    run: login,
  }),
  logout: defineCommand({
    about:
      'Ends your session at the broker, deletes it from your state directory, and revokes the refresh token at the issuer. In a workspace, use meshpass sign-out to end its sign-ins.',
    flags: { operator: operatorFlags.operator, caFile: operatorFlags.caFile, output },
    exitCodes: { 0: 'signed out, or not signed in' },
    env: STATE_ENV,
    examples: ['meshpass logout'],
    page: 'docs/install/operators.md',
    run: async ({ operator, caFile }) => {
      const file = new SessionFile(operator);
      const { session, refresh, revoked } = await file.exclusively(() => signOut(file, { operator, caFile }));
      if (revoked === false)
        printErrorLines(`${refresh?.name} did not revoke the refresh token, which remains valid until it expires.`);
      const json = { signed_out: session !== undefined, refresh_token_revoked: revoked ?? null };
      return { json, text: () => [session ? 'Signed out.' : 'You were not signed in.'] };
    },
  }),
  whoami: defineCommand({
    about:
      'Shows which entry in the access file gives you each role. In a workspace, use meshpass status to see the owner of its session.',
    flags: { ...operatorFlags, output },
    env: TOKEN_ENV,
    examples: ['meshpass whoami', 'meshpass whoami --output json'],
    page: 'docs/install/operators.md',
    run: async (options) => {
      const found = (await createOperatorClient(options)('GET', '/operator/session')) as WhoAmI;
      return { json: found, text: () => whoamiLines(found) };
    },
  }),
};

/** How long to wait for the user to sign in. */
const PATIENCE_MS = 5 * 60_000;
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/**
 * Opens an operator session at a broker, and stores it. The issuer authenticates the operator, and the access file
 * assigns the operator's roles.
 * @throws MeshpassError `usage`, `issuer_unavailable`, `proof_*`, `request_timeout`, `agent_broker_unreachable`, or the
 *   broker's errors `operator_no_role` and `operator_unauthorized`
 */
async function login(options: LoginOptions): Promise<Answer> {
  const { operator, issuer, device, serviceAccountToken } = options;
  if (serviceAccountToken !== undefined && (device || issuer !== undefined))
    throw new MeshpassError('usage', '--service-account-token cannot be combined with --issuer or --device.');
  const offer = await createSender(options, () => ({}))('GET', '/operator/sign-in');
  const { broker, issuers } = await read(offer, SignIns, options);
  // Create a new key for every sign-in. The session and the nonce of the ID token are bound to this key.
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { token, type, refresh } = await proofOf(options, issuers, key);
  const form = new URLSearchParams({ grant_type: EXCHANGE, subject_token: token, subject_token_type: type });
  try {
    const send = createSender(options, createDpopAuthenticator({ broker, key: dpopKey(key) }));
    const session = await read(await send('POST', '/operator/session', form), Session, options);
    const now = Math.floor(Date.now() / 1000);
    const [expiresAt, confirmUntil] = [now + session.expires_in, now + session.confirm_in];
    const opened = { broker: session.broker, token: session.access_token, key, expiresAt, confirmUntil };
    const file = new SessionFile(operator);
    const replaced = await file.exclusively(async () => {
      const before = refreshIn(file);
      file.write({ ...opened, ...(refresh && { refresh }) });
      return before;
    });
    if (replaced) await revokeRefreshToken(replaced);
    const who = session.operator;
    if (!refresh && confirmUntil < expiresAt)
      printErrorLines(`${who.issuer} did not issue a refresh token. Sign in again after ${isoTime(confirmUntil)}.`);
    const until = isoTime(expiresAt);
    const roles = who.roles.map(({ role }) => role).join(', ');
    return {
      json: { broker: operator, operator: who, expires_at: until },
      text: () => [`You are ${who.login} (${who.subject}): ${roles}. Until ${until}.`],
    };
  } catch (thrown) {
    if (refresh) await revokeRefreshToken(refresh);
    throw thrown;
  }
}

function isoTime(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
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
  { serviceAccountToken: file, ...options }: LoginOptions,
  issuers: readonly (Issuer & { readonly name: string })[],
  key: KeyObject,
): Promise<{ readonly token: string; readonly type: string; readonly refresh?: StoredRefreshToken }> {
  if (file !== undefined) return { token: readTextFile(file, '--service-account-token').trim(), type: JWT };
  const issuer = choose(issuers, options.issuer);
  const { idToken, refreshToken } = await signIn(issuer, options, operatorNonce(dpopThumbprint(dpopKey(key).jwk)));
  const of = { name: issuer.name, issuer: issuer.issuer, client: issuer.client };
  return {
    token: idToken,
    type: ID_TOKEN,
    ...(refreshToken !== undefined && { refresh: { ...of, token: refreshToken } }),
  };
}

function signIn(issuer: Issuer, { device, browser, port }: LoginOptions, nonce: string): Promise<Tokens> {
  if (device)
    return signInWithDevice(issuer, {
      nonce,
      patienceMs: PATIENCE_MS,
      onCode: ({ url, code, complete }) => {
        printErrorLines(`Open ${url} on any device and enter the code ${code}.`);
        if (complete !== undefined) printErrorLines(`Or open ${complete}`);
      },
    });
  return signInWithBrowser(issuer, {
    nonce,
    port,
    patienceMs: PATIENCE_MS,
    onUrl: (url) => {
      printErrorLines('Sign in with your browser:', '', `    ${url}`, '');
      if (browser) openBrowser(url);
    },
  });
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
async function read<T>(answer: ResponseBody, schema: z.ZodType<T>, { operator }: LoginOptions): Promise<T> {
  const found = schema.safeParse(await answer.json());
  if (found.success) return found.data;
  throw new MeshpassError('agent_broker_unreachable', `The server at ${operator} is not a broker.`);
}

async function signOut(file: SessionFile, options: OperatorEndpoint) {
  const session = file.read();
  const refresh = file.readRefresh();
  const revoked = refresh && (await revokeRefreshToken(refresh));
  if (session) {
    const send = createSender(options, createDpopAuthenticator(session));
    await send('DELETE', '/operator/session').catch((thrown: unknown) => {
      // Ignore the error if the session has already ended, because that is the purpose of logging out.
      if (!(thrown instanceof MeshpassError) || thrown.code !== 'operator_session_ended') throw thrown;
    });
  }
  file.remove();
  return { session, refresh, revoked };
}

function whoamiLines({ operator, expires_at: until, confirmed_until: confirmed, actions }: WhoAmI): readonly string[] {
  const times = [...(until ? [`until ${until}`] : []), ...(confirmed ? [`confirmed until ${confirmed}`] : [])];
  const roles = operator.roles.map(({ role, place }) => `  ${role}  (${place})`);
  return [
    [`${operator.login} (${operator.subject})`, ...times].join(', '),
    'Roles:',
    ...(roles.length > 0 ? roles : ['  none: this is the break-glass token']),
    'Allowed actions:',
    ...actions.map((action) => `  ${action}`),
  ];
}
