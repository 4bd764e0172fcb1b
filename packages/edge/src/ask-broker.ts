/** One authenticated HTTPS request to the broker, as the edge's Kubernetes ServiceAccount. */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { MeshpassError } from '@meshpass/identity';

export interface BrokerAccess {
  /** Base URL of the broker, https. */
  readonly url: string;
  /** File with a token for audience `meshpass-broker`; read anew each time, because the kubelet rotates it. */
  readonly tokenFile: string;
  /** PEM of the CA that signed the broker's certificate; without it, the system's. */
  readonly caFile?: string;
}

/**
 * @param silenceMs a connection on which nothing moves for so long is given up
 * @returns the answer, its body unread, where the status is 2xx
 * @throws MeshpassError `edge_unauthorized` (401, 403), `agent_broker_unreachable` for everything else; both worth retrying
 */
export async function askBroker(
  access: BrokerAccess,
  path: string,
  options: { readonly silenceMs: number; readonly body?: string; readonly signal?: AbortSignal },
): Promise<IncomingMessage> {
  const url = new URL(path, access.url);
  if (url.protocol !== 'https:') throw new MeshpassError('config_invalid', 'The URL of the broker must be https.');
  const token = (await readFile(access.tokenFile, 'utf8')).trim();
  const ca = access.caFile === undefined ? undefined : await readFile(access.caFile, 'utf8');
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      method: options.body === undefined ? 'GET' : 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        ...(options.body !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(options.body),
        }),
      },
      agent: false,
      timeout: options.silenceMs,
      ...(ca !== undefined && { ca }),
      ...(options.signal && { signal: options.signal }),
    });
    asked.once('timeout', () => asked.destroy(new Error('the broker is silent')));
    asked.once('error', (cause) => reject(unreachable(cause)));
    asked.once('response', (answer) => {
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return resolve(answer);
      answer.resume();
      if (status !== 401 && status !== 403) return reject(unreachable(new Error(`the broker answered ${status}`)));
      reject(new MeshpassError('edge_unauthorized', 'The broker does not accept the token of this edge.'));
    });
    asked.end(options.body);
  });
}

function unreachable(cause: Error): MeshpassError {
  return new MeshpassError('agent_broker_unreachable', 'The broker cannot be reached.', { cause });
}
