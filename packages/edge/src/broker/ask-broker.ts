/** Authenticated HTTPS requests to the broker that is active, as the edge's Kubernetes ServiceAccount. */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { type Agent, request } from 'node:https';
import { MeshpassError } from '@meshpass/identity';
import { type Addresses, rememberAddresses } from '@meshpass/identity/address';
import { tlsFailure } from '@meshpass/identity/tls-failure';

export interface BrokerAccess {
  /** Base URLs of the brokers, https. One of them is active at a time; the others refuse connections, or answer 503. */
  readonly urls: readonly string[];
  /** File with a token for audience `meshpass-broker`; read anew each time, because the kubelet rotates it. */
  readonly tokenFile: string;
  /** PEM of the CA that signed the broker's certificate; without it, the system's. */
  readonly caFile?: string;
  /** DNS name that its certificate is for, where that is not the host of the URL. */
  readonly serverName?: string;
}

/** Asks the broker that answered last, and on its failure the others in turn. */
export type AskBroker = (path: string, options: AskOptions) => Promise<IncomingMessage>;

export interface AskOptions {
  /** A connection on which nothing moves for so long is given up, ms. */
  readonly silenceMs: number;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Whose connections are used; absent: a new one. */
  readonly agent?: Agent;
  readonly headers?: Readonly<Record<string, string>>;
}

/** @param addresses how names are resolved; by the system where absent */
export function brokerAsker(access: BrokerAccess, addresses = rememberAddresses()): AskBroker {
  let urls = access.urls;
  return async (path, options) => {
    let failure: unknown;
    for (const url of urls) {
      try {
        return await ask(access, addresses, new URL(path, url), options);
      } catch (thrown) {
        failure ??= thrown;
        // It answered: what it said of this edge the others would say, too.
        if (options.signal?.aborted || (thrown as MeshpassError).code === 'edge_unauthorized') throw thrown;
        urls = [...urls.filter((one) => one !== url), url];
      }
    }
    throw failure;
  };
}

/**
 * @returns the answer, its body unread, where the status is 2xx
 * @throws MeshpassError `edge_unauthorized` (401, 403), `agent_broker_unreachable` for everything else; both worth retrying
 */
async function ask(
  access: BrokerAccess,
  addresses: Addresses,
  url: URL,
  options: AskOptions,
): Promise<IncomingMessage> {
  if (url.protocol !== 'https:') throw new MeshpassError('config_invalid', 'The URL of the broker must be https.');
  const token = (await readFile(access.tokenFile, 'utf8')).trim();
  const ca = access.caFile === undefined ? undefined : await readFile(access.caFile, 'utf8');
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      method: options.body === undefined ? 'GET' : 'POST',
      headers: {
        ...options.headers,
        authorization: `Bearer ${token}`,
        ...(options.body !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(options.body),
        }),
      },
      agent: options.agent ?? false,
      lookup: addresses.lookup,
      timeout: options.silenceMs,
      ...(ca !== undefined && { ca }),
      ...(access.serverName !== undefined && { servername: access.serverName }),
      ...(options.signal && { signal: options.signal }),
    });
    asked.once('timeout', () => {
      addresses.failed(asked.socket?.remoteAddress);
      asked.destroy(new Error('the broker is silent'));
    });
    asked.once('error', (cause) => reject(unreachable(cause)));
    asked.once('response', (answer) => {
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return resolve(answer);
      answer.resume();
      addresses.failed(answer.socket.remoteAddress);
      if (status !== 401 && status !== 403) return reject(unreachable(new Error(`the broker answered ${status}`)));
      reject(new MeshpassError('edge_unauthorized', 'The broker does not accept the token of this edge.'));
    });
    asked.end(options.body);
  });
}

function unreachable(cause: Error): MeshpassError {
  // Node's own words for a CA that is not trusted advise flags that nobody can give to an edge in a Pod.
  const what = tlsFailure(cause)?.what;
  const why = what === undefined ? '' : `: ${what}`;
  return new MeshpassError('agent_broker_unreachable', `The broker cannot be reached${why}.`, { cause });
}
