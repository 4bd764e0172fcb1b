/**
 * Sends a request to a port of a Codespace through GitHub's port forwarding ("Forwarding ports in your codespace"). A
 * private port is reachable at `https://NAME-PORT.app.github.dev` if the X-Github-Token header contains a token that
 * may access the Codespace.
 *
 * The host name is built only from the port number and the Codespace name that GitHub's API returned. It never contains
 * any text sent by a workspace.
 */
import { type IncomingMessage, type RequestOptions, request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { readBounded, StreamTooLargeError } from '@meshpass/identity';

/** Overrides the address that GitHub tokens are sent to. Only use this in the lab. */
export const labOnlyForwardingHost: unique symbol = Symbol('labOnlyForwardingHost');

export interface ForwardingOptions {
  /** The timeout for the entire request, in milliseconds. */
  readonly timeoutMs: number;
  /** Aborts the request. */
  readonly signal?: AbortSignal | undefined;
  readonly [labOnlyForwardingHost]?: {
    readonly host: string;
    readonly port: number;
    /** Disables TLS for unit tests that use the loopback interface. */
    readonly plainHttp?: true;
  };
}

export interface ForwardedPort {
  /** The name of the Codespace, as returned by GitHub's API. */
  readonly name: string;
  readonly port: number;
  /** The path to request, including the leading slash. It is chosen by the broker. */
  readonly path: string;
  /** A GitHub token that is allowed to access the Codespace. */
  readonly token: string;
}

export type ForwardedPortResult =
  /** The TLS connection to the forwarding host failed, which a workspace cannot cause. */
  | { readonly outcome: 'unreachable'; readonly reason: string }
  /**
   * The connection succeeded, but the port did not answer: there was a redirect to the sign-in page, a 401, a 404 or a
   * timeout.
   */
  | { readonly outcome: 'unanswered'; readonly reason: string }
  | { readonly outcome: 'answered'; readonly body: string };

const DOMAIN = 'app.github.dev';
/** The maximum length of a DNS label (RFC 1035 section 2.3.4). */
const LONGEST_LABEL = 63;
const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
/**
 * The lowest port that is allowed. Lower ports belong to system services, so agents listen on a free port above them.
 */
export const MIN_FORWARDED_PORT = 1024;
export const MAX_PORT = 65_535;
/** The maximum response size in bytes. The agent's JWS is about 500 bytes long. */
const MAX_BYTES = 4096;

/** Returns the host name of a forwarded port, or undefined if no such host can exist. */
function forwardingHost(name: string, port: number): string | undefined {
  const label = `${name}-${port}`;
  const fits = NAME.test(name) && label.length <= LONGEST_LABEL;
  const isPort = Number.isInteger(port) && port >= MIN_FORWARDED_PORT && port <= MAX_PORT;
  return fits && isPort ? `${label}.${DOMAIN}` : undefined;
}

/** Requests a path on a forwarded port. This never throws, never follows redirects and reads at most 4 KiB. */
export function requestForwardedPort(asked: ForwardedPort, options: ForwardingOptions): Promise<ForwardedPortResult> {
  const host = forwardingHost(asked.name, asked.port);
  if (host === undefined)
    return Promise.resolve({ outcome: 'unanswered', reason: 'this Codespace name and port cannot be forwarded' });
  const lab = options[labOnlyForwardingHost];
  const how: RequestOptions & { servername: string } = {
    host: lab?.host ?? host,
    port: lab?.port ?? 443,
    servername: host,
    path: asked.path,
    agent: false,
    ...(options.signal && { signal: options.signal }),
    headers: { host, 'x-github-token': asked.token, 'user-agent': 'meshpass', 'accept-encoding': 'identity' },
  };
  return new Promise((resolve) => {
    let connected = false;
    const settle = (result: ForwardedPortResult) => {
      clearTimeout(timer);
      resolve(result);
      sent.destroy();
    };
    const fail = (reason: string) => settle({ outcome: connected ? 'unanswered' : 'unreachable', reason });
    const sent = lab?.plainHttp ? requestPlain(how) : requestTls(how);
    const timer = setTimeout(() => fail(connected ? 'response timed out' : 'connection timed out'), options.timeoutMs);
    sent.on('socket', (socket) => {
      socket.once(lab?.plainHttp ? 'connect' : 'secureConnect', () => {
        connected = true;
      });
    });
    sent.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    sent.on('upgrade', () => fail('unexpected protocol upgrade'));
    sent.on('response', (response) => {
      if (response.statusCode !== 200) return settle({ outcome: 'unanswered', reason: refusalOf(response) });
      readBounded(response, MAX_BYTES).then(
        (body) => settle({ outcome: 'answered', body: body.toString('utf8') }),
        (error) => {
          // A body this long cannot have been sent by our agent.
          if (error instanceof StreamTooLargeError) settle({ outcome: 'answered', body: '' });
          else fail('the connection was interrupted');
        },
      );
    });
    sent.end();
  });
}

/**
 * Describes a response that was not successful. The redirect target is omitted because it may contain a GitHub secret.
 */
function refusalOf({ statusCode = 0 }: IncomingMessage): string {
  const isRedirect = statusCode >= 300 && statusCode < 400;
  return `status ${statusCode}${isRedirect ? ', a redirect to the sign-in page' : ''}`;
}
