/**
 * Registers the App with GitHub's manifest flow. A page on the loopback interface sends the manifest to GitHub, GitHub
 * redirects the browser back with a code, and the code is exchanged once for the private key. The key is written only
 * to a file that only its owner can read. The App's client secret and webhook secret are discarded, because nothing
 * uses them.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileProblem, MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { askGithub, Page, Slug } from './ask-github.ts';
import { manifest, PERMISSIONS } from './permissions.ts';

export interface CreateOptions {
  /** Organization that owns the App; by default, the user owns it. */
  readonly organization: string | undefined;
  readonly name: string;
  /** Home page of the App. */
  readonly url: string;
  /** Such as `https://github.com`. */
  readonly web: string;
  /** Such as `https://api.github.com`. */
  readonly api: string;
  /** Path for the key; must not exist yet. */
  readonly keyFile: string;
  /** Port of the loopback page; 0 for any free port. */
  readonly port: number;
  /** Milliseconds to wait for the browser. GitHub's code is valid for an hour. */
  readonly patienceMs: number;
  /** Receives the URL to open in a browser. */
  readonly onStart: (url: string) => void;
  readonly signal?: AbortSignal;
}

export interface CreatedApp {
  readonly id: number;
  readonly clientId: string;
  readonly slug: string;
  readonly owner: string;
  /** URL of the App's page at GitHub. */
  readonly page: string;
}

const CODE = /^[A-Za-z0-9_-]{1,200}$/;
const Created = z.object({
  id: z.int().positive(),
  client_id: z.string().regex(/^[\w.-]{1,100}$/),
  slug: Slug,
  owner: z.looseObject({ login: z.string().regex(/^[\w-]{1,100}$/) }),
  html_url: Page,
  pem: z
    .string()
    .max(20_000)
    .regex(/^-----BEGIN (?:RSA )?PRIVATE KEY-----\s[A-Za-z0-9+/=\s]+-----END (?:RSA )?PRIVATE KEY-----\s*$/),
});

/**
 * Registers an App and stores its key.
 * @throws MeshpassError `config_invalid` if the file exists or cannot be written; `issuer_unavailable` if GitHub
 *   answers unexpectedly; `request_timeout` if the browser does not return
 */
export async function createApp(options: CreateOptions): Promise<CreatedApp> {
  // Reserves the file first: GitHub shows the key only once, so an App whose key cannot be written would be useless.
  const file = reserve(options.keyFile);
  let isWritten = false;
  try {
    const pending = await converse(options);
    writeSync(file, pending.pem);
    fsyncSync(file);
    isWritten = true;
    const { id, client_id: clientId, slug, owner, html_url: page } = pending;
    return { id, clientId, slug, owner: owner.login, page };
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
        : fileProblem(cause);
    throw new MeshpassError('config_invalid', `--key-file: cannot write ${path}: ${why}.`, { cause });
  }
}

/** Serves the loopback pages until GitHub has answered with the key. */
async function converse(options: CreateOptions): Promise<z.infer<typeof Created>> {
  const { web, organization, port, patienceMs, onStart, signal } = options;
  const state = randomBytes(32).toString('base64url');
  // Other users of this machine can reach the port, but must not be able to guess the page that contains the state.
  const start = `/${randomBytes(16).toString('base64url')}`;
  const { promise, resolve, reject } = Promise.withResolvers<z.infer<typeof Created>>();
  let isTaken = false;
  let origin = '';
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // Any page in the browser can request an invalid URL, which must not end the flow.
    const url = URL.canParse(request.url ?? '/', origin) ? new URL(request.url ?? '/', origin) : undefined;
    // Rejects other host names (DNS rebinding).
    if (!url || request.headers.host !== new URL(origin).host || request.method !== 'GET')
      return send(response, 404, failedPage('Page not found.'));
    if (url.pathname === start) {
      const account =
        organization === undefined ? '/settings' : `/organizations/${encodeURIComponent(organization)}/settings`;
      const action = `${web.replace(/\/+$/, '')}${account}/apps/new?state=${state}`;
      const described = manifest({ name: options.name, url: options.url, redirectUrl: `${origin}/created` });
      return send(
        response,
        200,
        startPage({ action, manifest: JSON.stringify(described), organization }),
        new URL(action).origin,
      );
    }
    if (url.pathname !== '/created') return send(response, 404, failedPage('Page not found.'));
    const code = url.searchParams.get('code') ?? '';
    if (!isSame(url.searchParams.get('state') ?? '', state) || !CODE.test(code) || isTaken)
      return send(
        response,
        400,
        failedPage('This request did not come from the page that meshpass opened, or was already used.'),
      );
    isTaken = true;
    try {
      const created = await convert(options.api, code);
      send(response, 200, createdPage(created));
      resolve(created);
    } catch (thrown) {
      send(response, 502, failedPage('GitHub did not return the App. The terminal shows the reason.'));
      reject(thrown);
    }
  };
  const server = createServer((request, response) => void answer(request, response).catch(reject));
  server.requestTimeout = 10_000;
  await new Promise<void>((listening, failed) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      failed(new MeshpassError('usage', `--port: cannot listen on ${port} (${cause.code}).`, { cause })),
    );
    server.listen(port, '127.0.0.1', listening);
  });
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const late = new MeshpassError(
    'request_timeout',
    'The browser did not return from GitHub, and nothing was stored. If GitHub registered the App, delete it on its page and try again.',
  );
  const timer = setTimeout(reject, patienceMs, late);
  signal?.addEventListener('abort', () => reject(late));
  try {
    onStart(`${origin}${start}`);
    return await promise;
  } finally {
    clearTimeout(timer);
    server.close();
    server.closeIdleConnections();
  }
}

/** Exchanges the code (`POST /app-manifests/{code}/conversions`). It is the only credential, and works once. */
async function convert(api: string, code: string): Promise<z.infer<typeof Created>> {
  const { status, json } = await askGithub(api, `/app-manifests/${encodeURIComponent(code)}/conversions`, {
    method: 'POST',
  });
  const read = Created.safeParse(json);
  if (status === 201 && read.success) return read.data;
  // The message must not contain the body, which may contain the key.
  throw new MeshpassError(
    'issuer_unavailable',
    `GitHub answered the code exchange with status ${status} instead of an App.`,
  );
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/**
 * Sends a page.
 * @param target origin to which the page's form may be sent
 */
function send(response: ServerResponse, status: number, html: string, target = "'none'"): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; form-action ${target}; frame-ancestors 'none'; base-uri 'none'`,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  });
  response.end(html);
}

// Pages for the browser on the loopback interface.

interface StartPage {
  /** Target of the form. */
  readonly action: string;
  /** Manifest as JSON. */
  readonly manifest: string;
  readonly organization: string | undefined;
}

/** Renders the page with the App's permissions and a form that sends the manifest to GitHub. */
function startPage({ action, manifest, organization }: StartPage): string {
  const rows = PERMISSIONS.map(
    ({ name, level, of, reason, onlyFor }) =>
      `<tr><td><code>${name}</code>: ${level}<td>${of}<td>${escaped(reason)}${onlyFor === undefined ? '' : ` (only for ${escaped(onlyFor)})`}`,
  );
  return page(
    "Register your broker's GitHub App",
    `<p>It will belong to ${organization === undefined ? 'you' : `the organization <b>${escaped(organization)}</b>`}. It can only
read. It has no webhook and subscribes to no events.
<table><tr><th>Permission<th>of<th>Why${rows.join('')}</table>
<p>GitHub shows the App again and asks for its name. It then redirects you back here, and meshpass stores the key.
<form method="post" action="${escaped(action)}">
<input type="hidden" name="manifest" value="${escaped(manifest)}">
<button>Continue to GitHub</button>
</form>`,
  );
}

/** Renders the page after a successful registration. */
function createdPage({ slug, html_url: url }: { readonly slug: string; readonly html_url: string }): string {
  return page(
    `${escaped(slug)} is registered`,
    `<p>Its key is stored where meshpass runs. Now <a href="${escaped(url)}/installations/new">install it in your organization</a>, for
all repositories or for those whose Codespaces and jobs may join. The terminal shows the next steps.`,
  );
}

/** Renders an error page. */
function failedPage(why: string): string {
  return page('Something went wrong', `<p>${escaped(why)}`);
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>meshpass</title>
<style>body{font:16px/1.5 sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}button{font:inherit;padding:.5rem 1rem}</style>
<h1>${title}</h1>
${body}
`;
}

function escaped(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (mark) => entities[mark]!);
}
