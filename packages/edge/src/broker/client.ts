/**
 * Sends the HTTPS requests of a standalone edge to the active broker, authenticated with the edge's Kubernetes
 * ServiceAccount token.
 */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { type AddressLookup, createAddressLookup, MeshpassError, readBounded, tlsFailure } from '@meshpass/identity';
import {
  LeaseResponse,
  MAX_ANNOUNCED_CONFIGURATION_BYTES,
  MAX_LEASES,
  MAX_STATEMENT_LENGTH,
} from '@meshpass/identity/channel';
import type { ControlBroker } from '../control/hub.ts';
import { createDecisionQueue, type DecisionQueue, type DecisionQueueOptions } from './decision-queue.ts';

const ANSWER_MS = 5_000;
const MAX_EMPTY = 1_024;
const MAX_ANSWERS = MAX_LEASES * (MAX_STATEMENT_LENGTH + 256);

export interface BrokerAccess {
  /**
   * The base URLs of the brokers, which must use https. Only one broker is active at a time; the others refuse
   * connections or respond with 503.
   */
  readonly urls: readonly string[];
  /**
   * The file that contains a token for the audience `meshpass-broker`. It is read for every request, because the
   * kubelet rotates the token.
   */
  readonly tokenFile: string;
  /** The PEM file of the CA that issued the broker's certificate. Defaults to the system's root certificates. */
  readonly caFile?: string;
  /** The DNS name in the broker's certificate, if it differs from the host in the URL. */
  readonly serverName?: string;
}

/**
 * Creates the broker client for control connections. It keeps a few connections open, because leases arrive several
 * times a second.
 */
export function controlBroker(access: BrokerAccess): ControlBroker & { close(): void } {
  const ask = createBrokerRequester(access);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  // Configurations use separate connections, so that a burst of large ones does not delay leases.
  const configurations = new Agent({ keepAlive: true, maxSockets: 8 });
  const post = async (path: string, body: object, limit: number, through = agent): Promise<Buffer> =>
    readBounded(await ask(path, { silenceMs: ANSWER_MS, body: JSON.stringify(body), agent: through }), limit);
  return {
    async renew(leases) {
      const answer = await post('/leases', { leases }, MAX_ANSWERS);
      return LeaseResponse.parse(JSON.parse(answer.toString('utf8'))).answers;
    },
    configuration: (announced) =>
      post('/edge/configuration', announced, MAX_ANNOUNCED_CONFIGURATION_BYTES, configurations),
    async draining(sessions) {
      await post('/edge/draining', { sessions }, MAX_EMPTY);
    },
    close() {
      agent.destroy();
      configurations.destroy();
    },
  };
}

/**
 * Creates a queue that delivers decisions to the broker. If a response is lost, a decision may be delivered twice, but
 * the broker records each id only once.
 */
export function createBrokerDecisionQueue(
  options: BrokerAccess & Omit<DecisionQueueOptions, 'deliver'>,
): DecisionQueue {
  const ask = createBrokerRequester(options);
  return createDecisionQueue({
    ...options,
    deliver: async (decisions) => {
      const body = JSON.stringify({ decisions });
      const answer = await ask('/edge/decisions', { silenceMs: ANSWER_MS, body });
      answer.resume();
    },
  });
}

/** Sends a request to the broker that responded last. If that fails, the other brokers are tried in turn. */
export type BrokerRequester = (path: string, options: BrokerRequestOptions) => Promise<IncomingMessage>;

export interface BrokerRequestOptions {
  /** How long a connection may be silent before it is aborted, in milliseconds. */
  readonly silenceMs: number;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** The HTTPS agent whose connections are reused. If absent, a new connection is opened for each request. */
  readonly agent?: Agent;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Creates a function that sends requests to the active broker.
 * @param addresses resolves the broker's host name. Defaults to the system resolver
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
        // The other brokers would reject this edge too, so there is no point in trying them.
        if (options.signal?.aborted || (thrown as MeshpassError).code === 'edge_unauthorized') throw thrown;
        urls = [...urls.filter((one) => one !== url), url];
      }
    }
    throw failure;
  };
}

/**
 * Sends a single request to the given URL.
 * @returns the response, whose status is 2xx and whose body has not been read yet
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
  // Node.js suggests command-line flags for an untrusted CA, but an edge that runs in a Pod cannot use them.
  const what = tlsFailure(cause)?.what;
  const why = what === undefined ? '' : `: ${what}`;
  return new MeshpassError('agent_broker_unreachable', `Cannot reach the broker${why}.`, { cause });
}
