/**
 * One request to a port of a Codespace, through GitHub's port forwarding ("Forwarding ports in your codespace"): a private port
 * answers at `https://NAME-PORT.app.github.dev` to requests whose X-Github-Token may reach that Codespace.
 *
 * The host is made of the name that GitHub's API gave and of a number; nothing that a workspace sends gets into it.
 */
import { type IncomingMessage, type RequestOptions, request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';

/** For the lab alone: sends GitHub tokens to another address than GitHub's. */
export const forwardingHostOnlyInALab: unique symbol = Symbol('forwardingHostOnlyInALab');

export interface ForwardingOptions {
  /** Bound of the whole request, milliseconds. */
  readonly timeoutMs: number;
  /** Gives it up. */
  readonly signal?: AbortSignal | undefined;
  readonly [forwardingHostOnlyInALab]?: {
    readonly host: string;
    readonly port: number;
    /** Without TLS, for unit tests on loopback. */
    readonly plainHttp?: true;
  };
}

export interface ForwardedPort {
  /** Name of the Codespace, as GitHub's API gave it. */
  readonly name: string;
  readonly port: number;
  /** Begins with a slash; ours. */
  readonly path: string;
  /** May reach the Codespace. */
  readonly token: string;
}

export type Forwarded =
  /** No TLS connection to the forwarding host: nothing that a workspace does brings that about. */
  | { readonly outcome: 'unreachable'; readonly reason: string }
  /** Connected, and no answer that came through: a redirect to the sign-in, 401, 404, silence. */
  | { readonly outcome: 'unanswered'; readonly reason: string }
  | { readonly outcome: 'answered'; readonly body: string };

const DOMAIN = 'app.github.dev';
/** RFC 1035 section 2.3.4. */
const LONGEST_LABEL = 63;
const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
/** Ports below belong to what the system runs; an agent takes a free one above. */
export const LOWEST_PORT = 1024;
export const HIGHEST_PORT = 65_535;
/** A JWS of ours has some 500 bytes. */
const MAX_BYTES = 4096;

/** @returns undefined where no such host can exist */
export function forwardingHost(name: string, port: number): string | undefined {
  const label = `${name}-${port}`;
  const fits = NAME.test(name) && label.length <= LONGEST_LABEL;
  const isPort = Number.isInteger(port) && port >= LOWEST_PORT && port <= HIGHEST_PORT;
  return fits && isPort ? `${label}.${DOMAIN}` : undefined;
}

/** Never throws; a redirect is not followed, and a body is read to 4 KiB at most. */
export function askForwardedPort(asked: ForwardedPort, options: ForwardingOptions): Promise<Forwarded> {
  const host = forwardingHost(asked.name, asked.port);
  if (host === undefined) return Promise.resolve({ outcome: 'unanswered', reason: 'it cannot have a forwarded port' });
  const lab = options[forwardingHostOnlyInALab];
  const how: RequestOptions & { servername: string } = {
    ...{ host: lab?.host ?? host, port: lab?.port ?? 443, servername: host, path: asked.path },
    agent: false,
    ...(options.signal && { signal: options.signal }),
    headers: { host, 'x-github-token': asked.token, 'user-agent': 'meshpass', 'accept-encoding': 'identity' },
  };
  return new Promise((resolve) => {
    let connected = false;
    const settle = (result: Forwarded) => {
      clearTimeout(timer);
      resolve(result);
      sent.destroy();
    };
    const fail = (reason: string) => settle({ outcome: connected ? 'unanswered' : 'unreachable', reason });
    const sent = lab?.plainHttp ? requestPlain(how) : requestTls(how);
    const timer = setTimeout(() => fail(connected ? 'no answer in time' : 'no connection in time'), options.timeoutMs);
    sent.on('socket', (socket) => {
      socket.once(lab?.plainHttp ? 'connect' : 'secureConnect', () => {
        connected = true;
      });
    });
    sent.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    sent.on('upgrade', () => fail('it answered with an upgrade'));
    sent.on('response', (response) => {
      if (response.statusCode !== 200) return settle({ outcome: 'unanswered', reason: refusalOf(response) });
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        // What is longer is no answer of ours, whatever follows.
        if (size > MAX_BYTES) settle({ outcome: 'answered', body: '' });
        else chunks.push(chunk);
      });
      response.on('error', (error) => fail(error.message));
      response.on('aborted', () => fail('the connection broke'));
      response.on('end', () => settle({ outcome: 'answered', body: Buffer.concat(chunks).toString('utf8') }));
    });
    sent.end();
  });
}

/** Where a redirect leads is not told: it may carry what GitHub wants to be kept. */
function refusalOf({ statusCode = 0 }: IncomingMessage): string {
  const isRedirect = statusCode >= 300 && statusCode < 400;
  return `it answered ${statusCode}${isRedirect ? ', a redirect to the sign-in page' : ''}`;
}
