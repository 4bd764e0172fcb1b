/**
 * Receives a loopback redirect for a native application (RFC 8252 section 7.3). The command listens on 127.0.0.1 until
 * another site redirects the browser back to it. Requests without the expected `state` are rejected, and the command
 * keeps waiting.
 */
import { spawn } from 'node:child_process';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MeshpassError } from '@meshpass/identity';

export interface RedirectOptions {
  /** The port to listen on. If it is 0, any free port is used. */
  readonly port: number;
  readonly patienceMs: number;
  /** The path that the browser is redirected to. */
  readonly path: string;
  /**
   * A page that sends the browser to the other site. It is needed only if opening a URL is not enough, for example
   * because a form has to be submitted.
   */
  readonly start?: {
    /** Renders the content of the page. */
    readonly html: (redirect: Pick<Redirect, 'url' | 'state'>) => string;
    /** The origin to which the page may submit its form (CSP `form-action`). */
    readonly target: string;
  };
  /** A sentence to show in the browser after the redirect. */
  readonly done: string;
  /** The error message to use if the browser does not return in time. */
  readonly late: string;
}

export interface Redirect extends AsyncDisposable {
  /** The redirect URL, such as `http://127.0.0.1:PORT/callback`. */
  readonly url: string;
  /** The `state` value that the other site has to send back. */
  readonly state: string;
  /** The URL of the start page. Its path is random, so that other users of this machine cannot guess it. */
  readonly start: string;
  /**
   * Resolves to the URL that the browser requested. Rejects with MeshpassError `request_timeout` if the browser does
   * not return in time.
   */
  readonly answer: Promise<URL>;
}

/**
 * Starts listening for the redirect on the loopback interface.
 * @throws MeshpassError `usage` if the port is in use
 */
export async function listenForRedirect(options: RedirectOptions): Promise<Redirect> {
  const { port, patienceMs, path, start, done, late } = options;
  const { promise: answer, resolve, reject } = Promise.withResolvers<URL>();
  answer.catch(() => {});
  const state = randomBytes(32).toString('base64url');
  const startPath = `/${randomBytes(16).toString('base64url')}`;
  let isTaken = false;
  let origin = '';
  const server = createServer((request, response) => {
    // Any web page can make the browser send a request with an invalid URL. Ignore such requests and keep waiting.
    const url = URL.canParse(request.url ?? '/', origin) ? new URL(request.url ?? '/', origin) : undefined;
    // Reject other host names to prevent DNS rebinding.
    if (!url || request.headers.host !== new URL(origin).host || request.method !== 'GET')
      return send(response, 404, 'Page not found.');
    if (start && url.pathname === startPath)
      return send(response, 200, start.html({ url: origin + path, state }), start.target);
    if (url.pathname !== path) return send(response, 404, 'Page not found.');
    const states = url.searchParams.getAll('state');
    if (isTaken || states.length !== 1 || !isSame(states[0]!, state))
      return send(response, 400, 'This response is not for the page that meshpass opened, or was already used.');
    isTaken = true;
    send(response, 200, `${done} You can close this page.`);
    resolve(url);
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((listening, failed) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      failed(new MeshpassError('usage', `--port: cannot listen on ${port} (${cause.code}).`, { cause })),
    );
    server.listen(port, '127.0.0.1', listening);
  });
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const timer = setTimeout(reject, patienceMs, new MeshpassError('request_timeout', late));
  return {
    url: origin + path,
    state,
    start: origin + startPath,
    answer,
    [Symbol.asyncDispose]: async () => {
      clearTimeout(timer);
      server.close();
      server.closeIdleConnections();
    },
  };
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Sends an HTML page. Callers must not include data from the request, to prevent injection. */
function send(response: ServerResponse, status: number, html: string, target = "'none'"): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; form-action ${target}; frame-ancestors 'none'; base-uri 'none'`,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  });
  response.end(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Meshpass</title>
<style>body{font:16px/1.5 sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}button{font:inherit;padding:.5rem 1rem}</style>
<p>${html}
`);
}

/**
 * Tries to open a page in a browser. Errors are ignored, because the command also prints the URL.
 * @param url a URL from an issuer, which is passed as a single argument and never through a shell
 */
export function openBrowser(url: string): void {
  const [program, ...words] = process.platform === 'darwin' ? ['open'] : ['xdg-open'];
  const child = spawn(program!, [...words, url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}
