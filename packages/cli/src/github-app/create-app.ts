/**
 * Registers the App by GitHub's manifest flow: a page on the loopback sends the manifest to GitHub, GitHub sends the browser back with a
 * code, and the code is exchanged for the key, once. The key goes into a file that only its owner may read, and nowhere else; the
 * App's client secret and webhook secret are not kept, because nothing uses them.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileProblem, MeshpassError } from '@meshpass/identity/error';
import { z } from 'zod';
import { askGithub, Page, Slug } from './ask-github.ts';
import { createdPage, failedPage, startPage } from './pages.ts';
import { manifest } from './permissions.ts';

export interface CreateOptions {
  /** Absent: the App is the user's own. */
  readonly organization: string | undefined;
  readonly name: string;
  /** Home page of the App. */
  readonly url: string;
  /** `https://github.com` */
  readonly web: string;
  /** `https://api.github.com` */
  readonly api: string;
  /** Must not exist. */
  readonly keyFile: string;
  /** Of the page on the loopback; 0 for any free one. */
  readonly port: number;
  /** How long it is waited for the browser, ms. GitHub's code is good for an hour. */
  readonly patienceMs: number;
  /** Told where the browser must go. */
  readonly onStart: (url: string) => void;
  readonly signal?: AbortSignal;
}

export interface CreatedApp {
  readonly id: number;
  readonly clientId: string;
  readonly slug: string;
  readonly owner: string;
  /** The App's page at GitHub. */
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
 * @throws MeshpassError `config_invalid` where the file is there or cannot be written; `issuer_unavailable` where GitHub does not
 *   answer as it should; `request_timeout` where nobody comes back from GitHub
 */
export async function createApp(options: CreateOptions): Promise<CreatedApp> {
  // First: an App whose key cannot be written would be of no use, and GitHub shows the key only once.
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
        ? 'it is there already, and is not overwritten'
        : fileProblem(cause);
    throw new MeshpassError('config_invalid', `--key-file: ${path} cannot be written: ${why}.`, { cause });
  }
}

/** From the first page to the answer with the key. */
async function converse(options: CreateOptions): Promise<z.infer<typeof Created>> {
  const { web, organization, port, patienceMs, onStart, signal } = options;
  const state = randomBytes(32).toString('base64url');
  // Whoever else is on this machine can reach the port: they must not guess the page that has the state.
  const start = `/${randomBytes(16).toString('base64url')}`;
  const { promise, resolve, reject } = Promise.withResolvers<z.infer<typeof Created>>();
  let isTaken = false;
  let origin = '';
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // Any page of the browser can ask for what is no URL: that must not end what the owner waits for.
    const url = URL.canParse(request.url ?? '/', origin) ? new URL(request.url ?? '/', origin) : undefined;
    // A name that leads here is no way in (DNS rebinding).
    if (!url || request.headers.host !== new URL(origin).host || request.method !== 'GET')
      return send(response, 404, failedPage('There is nothing here.'));
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
    if (url.pathname !== '/created') return send(response, 404, failedPage('There is nothing here.'));
    const code = url.searchParams.get('code') ?? '';
    if (!isSame(url.searchParams.get('state') ?? '', state) || !CODE.test(code) || isTaken)
      return send(
        response,
        400,
        failedPage('This does not come from the page that meshpass opened, or it came before.'),
      );
    isTaken = true;
    try {
      const created = await convert(options.api, code);
      send(response, 200, createdPage(created));
      resolve(created);
    } catch (thrown) {
      send(response, 502, failedPage('GitHub did not give the App. The terminal says why.'));
      reject(thrown);
    }
  };
  const server = createServer((request, response) => void answer(request, response).catch(reject));
  server.requestTimeout = 10_000;
  await new Promise<void>((listening, failed) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      failed(new MeshpassError('usage', `--port: ${port} cannot be listened on (${cause.code}).`, { cause })),
    );
    server.listen(port, '127.0.0.1', listening);
  });
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const late = new MeshpassError(
    'request_timeout',
    'Nobody came back from GitHub. Nothing was stored; an App that was registered all the same can be deleted on its page.',
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

/** `POST /app-manifests/{code}/conversions`: the code is the only credential, and good once. */
async function convert(api: string, code: string): Promise<z.infer<typeof Created>> {
  const { status, json } = await askGithub(api, `/app-manifests/${encodeURIComponent(code)}/conversions`, {
    method: 'POST',
  });
  const read = Created.safeParse(json);
  if (status === 201 && read.success) return read.data;
  // Never the body: it may hold the key.
  throw new MeshpassError(
    'issuer_unavailable',
    `GitHub answered the exchange of the code with status ${status}, and not with an App.`,
  );
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/** @param target origin that the page's form may be sent to */
function send(response: ServerResponse, status: number, html: string, target = "'none'"): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; form-action ${target}; frame-ancestors 'none'; base-uri 'none'`,
    ...{ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' },
    connection: 'close',
  });
  response.end(html);
}
