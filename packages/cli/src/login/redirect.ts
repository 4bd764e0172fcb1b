/**
 * Loopback redirect of a native application (RFC 8252 section 7.3): a page on 127.0.0.1 to which the issuer redirects
 * the browser once. Requests without this sign-in's state are rejected, and do not end the sign-in.
 */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MeshpassError } from '@meshpass/identity/error';

export interface Redirect extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/callback` */
  readonly url: string;
  /**
   * Waits for the redirect.
   * @returns the URL that the browser requested
   * @throws MeshpassError `request_timeout`
   */
  readonly answer: (state: string) => Promise<URL>;
}

const PATH = '/callback';

/**
 * Listens on the loopback interface.
 * @param port 0 for any free port
 * @throws MeshpassError `usage` if the port is in use
 */
export async function listenForRedirect(port: number, patienceMs: number): Promise<Redirect> {
  const { promise, resolve, reject } = Promise.withResolvers<URL>();
  promise.catch(() => {});
  let expected: string | undefined;
  let origin = '';
  const server = createServer((request, response) => {
    const url = URL.canParse(request.url ?? '/', origin) ? new URL(request.url ?? '/', origin) : undefined;
    // Rejects other host names (DNS rebinding).
    if (!url || request.headers.host !== new URL(origin).host || request.method !== 'GET' || url.pathname !== PATH)
      return page(response, 404, 'Page not found.');
    const states = url.searchParams.getAll('state');
    if (expected === undefined || states.length !== 1 || !isSame(states[0]!, expected))
      return page(response, 400, 'This response is not for the sign-in that meshpass started, or was already used.');
    expected = undefined;
    page(response, 200, 'Return to the terminal to see whether you are signed in. You can close this page.');
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
  const late = new MeshpassError('request_timeout', 'The issuer did not send the browser back. You are not signed in.');
  const timer = setTimeout(reject, patienceMs, late);
  return {
    url: origin + PATH,
    answer: (state) => {
      expected = state;
      return promise;
    },
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

/** Sends a page that contains no data from the request, and no link. */
function page(response: ServerResponse, status: number, sentence: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  });
  response.end(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Meshpass</title><p>${sentence}</p></html>`);
}
