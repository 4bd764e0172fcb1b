/** Sends HTTPS requests to the active broker, authenticated with the edge's Kubernetes ServiceAccount token. */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { type Agent, request } from 'node:https';
import { MeshpassError } from '@meshpass/identity';
import { type AddressLookup, createAddressLookup } from '@meshpass/identity/address';
import { tlsFailure } from '@meshpass/identity/tls-failure';

export interface BrokerAccess {
  /**
   * Base URLs of the brokers, https. Only one broker is active at a time. The others refuse connections or respond with
   * 503.
   */
  readonly urls: readonly string[];
  /**
   * File that contains a token for audience `meshpass-broker`. It is read for every request, because the kubelet
   * rotates it.
   */
  readonly tokenFile: string;
  /** PEM file of the CA that issued the broker's certificate. Defaults to the system's root certificates. */
  readonly caFile?: string;
  /** DNS name in the certificate, if it differs from the URL's host. */
  readonly serverName?: string;
}

/** Sends a request to the broker that last answered. If that fails, tries the other brokers in turn. */
export type BrokerRequester = (path: string, options: BrokerRequestOptions) => Promise<IncomingMessage>;

export interface BrokerRequestOptions {
  /** Milliseconds without data after which a connection is aborted. */
  readonly silenceMs: number;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** Agent whose connections are reused. If absent, a new connection is opened. */
  readonly agent?: Agent;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Creates a function that sends requests to the active broker.
 * @param addresses address resolver. Defaults to the system's
 */
export function createBrokerRequester(access: BrokerAccess, addresses = createAddressLookup()): BrokerRequester {
  let urls = access.urls;
  return async (path, options) => {
    let failure: unknown;
    for (const url of urls) {
      try {
        return await ask(access, addresses, new URL(path, url), options);
      } catch (thrown) {
        failure ??= thrown;
        // The other brokers would also reject this edge.
        if (options.signal?.aborted || (thrown as MeshpassError).code === 'edge_unauthorized') throw thrown;
        urls = [...urls.filter((one) => one !== url), url];
      }
    }
    throw failure;
  };
}

/**
 * Sends one request.
 * @returns the response with its body unread. Its status is 2xx
 * @throws MeshpassError `edge_unauthorized` (401, 403), or `agent_broker_unreachable` for any other failure. Both can
 *   be retried
 */
async function ask(
  access: BrokerAccess,
  addresses: AddressLookup,
  url: URL,
  options: BrokerRequestOptions,
): Promise<IncomingMessage> {
  if (url.protocol !== 'https:') throw new MeshpassError('config_invalid', 'The broker URL must use https.');
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
      asked.destroy(new Error('the broker did not respond'));
    });
    asked.once('error', (cause) => reject(unreachable(cause)));
    asked.once('response', (answer) => {
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return resolve(answer);
      answer.resume();
      addresses.failed(answer.socket.remoteAddress);
      if (status !== 401 && status !== 403)
        return reject(unreachable(new Error(`the broker responded with ${status}`)));
      reject(new MeshpassError('edge_unauthorized', "The broker rejected this edge's token."));
    });
    asked.end(options.body);
  });
}

function unreachable(cause: Error): MeshpassError {
  // Node's own message about an untrusted CA suggests flags that an edge in a Pod cannot use.
  const what = tlsFailure(cause)?.what;
  const why = what === undefined ? '' : `: ${what}`;
  return new MeshpassError('agent_broker_unreachable', `Cannot reach the broker${why}.`, { cause });
}
