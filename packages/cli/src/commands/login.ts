import { MeshpassError } from '@meshpass/identity/error';
import { createDpopAuthenticator, createSender, type OperatorEndpoint } from '../broker/send.ts';
import { openBrowser } from '../browser/redirect.ts';
import { defineCommand } from '../command/define.ts';
import { negatedFlag, type OptionsOf, port, text, toggle } from '../command/flag.ts';
import { type Answer, printErrorLines } from '../command/outcome.ts';
import { operatorFlags, output, STATE_ENV, TOKEN_ENV } from '../command/shared-flags.ts';
import { loginOperator, type Operator } from '../login/operator.ts';
import { SessionFile } from '../login/session-file.ts';
import { revokeRefreshToken } from '../login/tokens.ts';
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

/**
 * Signs an operator in.
 * @throws MeshpassError `usage` if flags conflict, or any error thrown by loginOperator()
 */
async function login(options: OptionsOf<typeof loginFlags>): Promise<Answer> {
  const { operator, issuer, device, browser, serviceAccountToken } = options;
  if (serviceAccountToken !== undefined && (device || issuer !== undefined))
    throw new MeshpassError('usage', '--service-account-token cannot be combined with --issuer or --device.');
  const opened = await loginOperator({
    ...options,
    patienceMs: PATIENCE_MS,
    onUrl: (url) => {
      printErrorLines('Sign in with your browser:', '', `    ${url}`, '');
      if (browser) openBrowser(url);
    },
    onCode: ({ url, code, complete }) => {
      printErrorLines(`Open ${url} on any device and enter the code ${code}.`);
      if (complete !== undefined) printErrorLines(`Or open ${complete}`);
    },
  });
  const { operator: who, expiresAt, signInAgainAt } = opened;
  if (signInAgainAt !== undefined)
    printErrorLines(
      `${who.issuer} did not issue a refresh token. Sign in again after ${new Date(signInAgainAt * 1000).toISOString()}.`,
    );
  const until = new Date(expiresAt * 1000).toISOString();
  const roles = who.roles.map(({ role }) => role).join(', ');
  return {
    json: { broker: operator, operator: who, expires_at: until },
    text: () => [`You are ${who.login} (${who.subject}): ${roles}. Until ${until}.`],
  };
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
