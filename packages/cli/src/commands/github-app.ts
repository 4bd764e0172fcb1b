import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { type OptionsOf, text, wholeNumber } from '../command/flag.ts';
import type { Answer } from '../command/outcome.ts';
import { output } from '../command/shared-flags.ts';
import { findingsOutput } from '../diagnosis/print.ts';
import { diagnose } from '../diagnosis/run.ts';
import { quoteShellWord } from '../diagnosis/shell-word.ts';
import { githubAppCheck, githubAppFlags } from '../github-app/check-app.ts';
import { registerGithubApp } from '../github-app/create-app.ts';
import { PERMISSIONS } from '../github-app/permissions.ts';

/** How long to wait for the browser. The code that GitHub issues is valid for one hour. */
const PATIENCE_MS = 3_600_000;
const GITHUB_API = 'https://api.github.com';
/** The maximum length of a GitHub App's name. */
const LONGEST_NAME = 34;

const flags = {
  organization: text('<login>', 'organization that owns the App', { defaultText: 'your own account' }),
  name: text('<name>', 'unique name of the App; you can change it on GitHub', {
    defaultText: 'meshpass-ORGANIZATION',
  }),
  url: text('<url>', 'home page of the App, such as the URL of your broker', {
    default: 'https://github.com/meshpass/meshpass',
  }),
  keyFile: text('<file>', 'file to write the private key to; it must not exist', { default: 'github-app.pem' }),
  port: wholeNumber('<port>', 'port of the page on 127.0.0.1, for example to forward it over SSH', {
    default: '0',
    defaultText: 'any free port',
  }),
  githubWeb: text('<url>', 'URL of GitHub', { env: 'MESHPASS_GITHUB_WEB', default: 'https://github.com' }),
  githubApi: text('<url>', 'URL of the GitHub API', { env: 'MESHPASS_GITHUB_API', default: GITHUB_API }),
  output,
};

export const commands = {
  create: defineCommand({
    about:
      'Serves a page on 127.0.0.1 that sends the App description to GitHub, where you confirm it. GitHub then redirects your browser back, and the private key is written to a file that only you can read. The key is never printed.',
    flags,
    exitCodes: {
      0: 'the App is registered and its key stored',
      1: 'the browser did not return from GitHub, or GitHub rejected the request',
    },
    examples: [
      'meshpass github-app create --organization acme --url https://broker.example.com',
      'meshpass github-app create --organization acme --port 8765',
    ],
    page: 'docs/github/app.md',
    run: create,
  }),
  check: defineCommand({
    about:
      'Signs in as the App and checks its key, its installations, missing and unneeded permissions, and the remaining rate limit.',
    flags: { ...githubAppFlags, output },
    exitCodes: {
      0: 'nothing is missing; there may be warnings',
      1: 'something is missing',
      3: 'GitHub does not respond; try again',
    },
    examples: ['meshpass github-app check --github-app 123456 --github-app-key github-app.pem --organization acme'],
    page: 'docs/github/app.md',
    run: async (options) => {
      const check = githubAppCheck(options);
      if (!check) throw new MeshpassError('usage', 'Pass --github-app and --github-app-key.');
      return findingsOutput(await diagnose([check]));
    },
  }),
};

async function create(options: OptionsOf<typeof flags>): Promise<Answer> {
  const { organization, keyFile, url, port, githubWeb: web, githubApi: api } = options;
  if (organization !== undefined && !/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})$/.test(organization))
    throw new MeshpassError('usage', `--organization must be a login, as in github.com/LOGIN, not ${organization}.`);
  const name = options.name ?? `meshpass-${organization ?? 'broker'}`.slice(0, LONGEST_NAME);
  if (name.length > LONGEST_NAME)
    throw new MeshpassError('usage', `--name must have at most ${LONGEST_NAME} characters.`);
  for (const [flag, one] of Object.entries({ url, 'github-web': web, 'github-api': api }))
    if (!URL.canParse(one) || !/^https?:/.test(one))
      throw new MeshpassError('usage', `--${flag} must be a URL, not ${one}.`);
  const app = await registerGithubApp({
    organization,
    name,
    url,
    web,
    api,
    keyFile,
    port,
    patienceMs: PATIENCE_MS,
    onStart: (page) =>
      console.error(`The App's permissions:\n${permissionText()}\nOpen in a browser on this machine: ${page}`),
  });
  const { id, client_id, slug, html_url: page } = app;
  const owner = app.owner.login;
  const install = `${page}/installations/new`;
  return {
    json: { app_id: id, client_id, slug, owner, key_file: keyFile, page, install },
    text: () => [
      `App ${slug} of ${owner} is registered; its key is in ${keyFile}.`,
      `Install it in the organization: ${install}`,
      ...nextSteps(id, options),
    ],
  };
}

/** Lists the commands to run next, both for the Helm chart and for a broker that is started manually. */
function nextSteps(id: number, { organization, keyFile, githubApi: api }: OptionsOf<typeof flags>): readonly string[] {
  const isOther = api !== GITHUB_API;
  const app = `--github-app ${id} --github-app-key ${quoteShellWord(keyFile)}${isOther ? ` --github-api ${quoteShellWord(api)}` : ''}`;
  const secret = `--from-file=private-key.pem=${quoteShellWord(keyFile)}`;
  return [
    'Then check it:',
    `  meshpass github-app check ${app}${organization === undefined ? '' : ` --organization ${organization}`}`,
    "and configure the broker, in the chart's values and a Secret:",
    `  github: {appId: "${id}"${isOther ? `, api: ${JSON.stringify(api)}` : ''}}`,
    `  kubectl -n meshpass-system create secret generic meshpass-github ${secret}`,
    'or, without the chart:',
    `  meshpass serve ${app} ...`,
  ];
}

function permissionText(): string {
  const lines = PERMISSIONS.map(({ name, of, reason }) => `  read ${name} (${of}): ${reason}`);
  return [...lines, '  events: none; it has no webhook'].join('\n');
}
