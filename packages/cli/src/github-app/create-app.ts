/**
 * Registers the App with GitHub's manifest flow. A page on the loopback interface sends the manifest to GitHub, and
 * GitHub redirects the browser back with a code. The code is exchanged once for the private key, which is only written
 * to a file that other users cannot read. The App's client secret and webhook secret are not needed and are discarded.
 */
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { listenForRedirect } from '../browser/redirect.ts';
import { Page, queryGithub, Slug } from './ask-github.ts';
import { PERMISSIONS } from './permissions.ts';

export interface RegisterAppOptions {
  /** The organization that will own the App. If it is undefined, the user will own it. */
  readonly organization: string | undefined;
  readonly name: string;
  /** The URL of the App's home page. */
  readonly url: string;
  /** The base URL of GitHub's website, such as `https://github.com`. */
  readonly web: string;
  /** The base URL of GitHub's API, such as `https://api.github.com`. */
  readonly api: string;
  /** The path to the file for the private key. The file must not exist yet. */
  readonly keyFile: string;
  /** The port of the loopback page. If it is 0, any free port is used. */
  readonly port: number;
  /** How long to wait for the browser, in milliseconds. The code that GitHub issues is valid for one hour. */
  readonly patienceMs: number;
  /** Called with the URL to open in a browser. */
  readonly onStart: (url: string) => void;
}

const Created = z.object({
  id: z.int().positive(),
  client_id: z.string().regex(/^[\w.-]{1,100}$/),
  slug: Slug,
  owner: z.object({ login: z.string().regex(/^[\w-]{1,100}$/) }),
  html_url: Page,
  pem: z
    .string()
    .max(20_000)
    .regex(/^-----BEGIN (?:RSA )?PRIVATE KEY-----\s[A-Za-z0-9+/=\s]+-----END (?:RSA )?PRIVATE KEY-----\s*$/),
});

export type RegisteredApp = Omit<z.infer<typeof Created>, 'pem'>;

/**
 * Registers an App and stores its private key.
 * @throws MeshpassError `config_invalid` if the file exists or cannot be written, `issuer_unavailable` if GitHub's
 *   response is unexpected, or `request_timeout` if the browser does not return
 */
export async function registerGithubApp(options: RegisterAppOptions): Promise<RegisteredApp> {
  // Create the file first. GitHub returns the key only once, so an App would be useless if its key could not be
  // written.
  const file = reserve(options.keyFile);
  let isWritten = false;
  try {
    const { pem, ...app } = await convert(options.api, await codeOf(options));
    writeSync(file, pem);
    fsyncSync(file);
    isWritten = true;
    return app;
  } finally {
    closeSync(file);
    if (!isWritten) rmSync(options.keyFile, { force: true });
  }
}

function reserve(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    const why =
      (cause as NodeJS.ErrnoException).code === 'EEXIST'
        ? 'the file already exists and will not be overwritten'
        : describeFileError(cause);
    throw new MeshpassError('config_invalid', `--key-file: cannot write ${path}: ${why}.`, { cause });
  }
}

/** Sends the browser to GitHub, and waits until GitHub redirects it back with a code. */
async function codeOf(options: RegisterAppOptions): Promise<string> {
  const { web, organization, name, url, port, patienceMs } = options;
  const account =
    organization === undefined ? '/settings' : `/organizations/${encodeURIComponent(organization)}/settings`;
  const action = `${web.replace(/\/+$/, '')}${account}/apps/new`;
  await using redirect = await listenForRedirect({
    port,
    patienceMs,
    path: '/created',
    start: {
      html: ({ url: redirectUrl, state }) =>
        startPage(`${action}?state=${state}`, appManifest(name, url, redirectUrl), organization),
      target: new URL(action).origin,
    },
    done: 'GitHub has registered the App. The terminal shows the next steps.',
    late: 'The browser did not return from GitHub, and nothing was stored. If GitHub registered the App, delete it on its page and try again.',
  });
  options.onStart(redirect.start);
  return (await redirect.answer).searchParams.get('code') ?? '';
}

/** Builds an App manifest, as described in GitHub's documentation, "Registering a GitHub App from a manifest". */
function appManifest(name: string, url: string, redirectUrl: string) {
  return {
    name,
    url,
    redirect_url: redirectUrl,
    public: false,
    description: 'Gives the Meshpass broker read access to members, teams and Codespaces.',
    // GitHub requires the manifest to contain a webhook, so include an inactive one.
    hook_attributes: { url, active: false },
    // GitHub has no events about Codespaces, so the broker polls instead.
    default_events: [],
    default_permissions: Object.fromEntries(PERMISSIONS.map((permission) => [permission.name, 'read'])),
  };
}

/**
 * Exchanges the code for the App (`POST /app-manifests/{code}/conversions`). The request needs no credential other than
 * the code, which can be used only once.
 */
async function convert(api: string, code: string): Promise<z.infer<typeof Created>> {
  const { status, json } = await queryGithub(api, `/app-manifests/${encodeURIComponent(code)}/conversions`, {
    method: 'POST',
  });
  const read = Created.safeParse(json);
  if (status === 201 && read.success) return read.data;
  // Do not include the response body in the message, because it may contain the private key.
  throw new MeshpassError(
    'issuer_unavailable',
    `GitHub answered the code exchange with status ${status} instead of an App.`,
  );
}

/** Renders a page that lists the App's permissions and contains a form to send the manifest to GitHub. */
function startPage(action: string, described: object, organization: string | undefined): string {
  const rows = PERMISSIONS.map(
    ({ name, of, reason, onlyFor }) =>
      `<tr><td><code>${name}</code>: read<td>${of}<td>${escaped(reason)}${onlyFor === undefined ? '' : ` (only for ${escaped(onlyFor)})`}`,
  );
  return `<h1>Register your broker's GitHub App</h1>
<p>It will belong to ${organization === undefined ? 'you' : `the organization <b>${escaped(organization)}</b>`}. It can only
read. It has no webhook and subscribes to no events.
<table><tr><th>Permission<th>of<th>Why${rows.join('')}</table>
<p>GitHub shows the App again and asks for its name. It then redirects you back here, and meshpass stores the key.
<form method="post" action="${escaped(action)}">
<input type="hidden" name="manifest" value="${escaped(JSON.stringify(described))}">
<button>Continue to GitHub</button>
</form>`;
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
