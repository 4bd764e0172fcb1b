import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { type OptionsOf, port, text, toggle, turnOff } from '../../command/flag.ts';
import { operatorFlags, output, STATE_ENV } from '../../command/shared-flags.ts';
import { openBrowser } from '../../login/open-browser.ts';
import { loginOperator } from '../../login/operator.ts';

const flags = {
  operator: operatorFlags.operator,
  caFile: operatorFlags.caFile,
  issuer: text('<name>', 'issuer to sign in at, by its name in the access file; required if there are several'),
  device: toggle('sign in on another device, with a code (RFC 8628)'),
  browser: turnOff('print the URL instead of opening a browser'),
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

export const command = defineCommand({
  about:
    'Opens an operator session. Your issuer authenticates you, and "operators" in the access file defines what you may do. The session is bound to a key in your state directory. Every few minutes, the issuer confirms your identity with a refresh token that is also stored there. The session ends after an hour unless the access file sets a different limit. In a workspace, use meshpass sign-in to add a sign-in to the workspace session.',
  flags,
  env: STATE_ENV,
  examples: ['meshpass login', 'meshpass login --issuer okta --device'],
  page: 'docs/install/operators.md',
  run: login,
});

const PATIENCE_MS = 5 * 60_000;

/**
 * Signs in.
 * @throws MeshpassError `usage` if flags conflict; errors of loginOperator()
 */
async function login(options: OptionsOf<typeof flags>): Promise<void> {
  const { operator, issuer, device, browser, port, serviceAccountToken, caFile, output } = options;
  if (serviceAccountToken !== undefined && (device || issuer !== undefined))
    throw new MeshpassError('usage', '--service-account-token cannot be combined with --issuer or --device.');
  const {
    operator: who,
    expiresAt,
    signInAgainAt,
  } = await loginOperator(
    {
      operator,
      caFile,
      issuer,
      device,
      port,
      serviceAccountToken,
      patienceMs: PATIENCE_MS,
      onUrl: (url) => {
        console.error(`Sign in with your browser:\n\n    ${url}\n`);
        if (browser) openBrowser(url);
      },
      onCode: ({ url, code, complete }) => {
        console.error(`Open ${url} on any device and enter the code ${code}.`);
        if (complete !== undefined) console.error(`Or open ${complete}`);
      },
    },
    process.env,
  );
  if (signInAgainAt !== undefined)
    console.error(
      `${who.issuer} did not issue a refresh token. Sign in again after ${new Date(signInAgainAt * 1000).toISOString()}.`,
    );
  const until = new Date(expiresAt * 1000).toISOString();
  if (output === 'json') console.log(JSON.stringify({ broker: operator, operator: who, expires_at: until }));
  else
    console.log(
      `You are ${who.login} (${who.subject}): ${who.roles.map(({ role }) => role).join(', ')}. Until ${until}.`,
    );
}
