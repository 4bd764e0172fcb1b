/**
 * An HTTP client for the Kubernetes API with keep-alive connections, limits on time and size, and a single type of
 * error. It uses plain node:https because speed matters: every certificate requires two of these calls.
 */

import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { createSecureContext } from 'node:tls';
import { createLineReader, MeshpassError, readBounded } from '@meshpass/identity';
import { type KubernetesEndpoint, kubeconfigAccess, podAccess } from './access.ts';

export interface KubernetesCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** The path of the request. Build it with the template tag `path`, which encodes every inserted value. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** The media type of the response. Defaults to `application/json`. */
  readonly accept?: string;
  /** Statuses other than 2xx that are not treated as failures. */
  readonly expect?: readonly number[];
  readonly signal?: AbortSignal;
}

export type KubernetesHttp = ReturnType<typeof createKubernetesHttp>;

const CALL_TIMEOUT_MS = 5_000;
/**
 * How long a watch may be silent before its server is considered lost, in milliseconds. Normally, a bookmark arrives
 * every minute.
 */
const STREAM_SILENCE_MS = 150_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const MAX_SOCKETS = 64;

/**
 * A template tag that builds a path and percent-encodes every inserted value:
 * `path\`/api/v1/namespaces/${namespace}\``.
 */
export function path(texts: TemplateStringsArray, ...parts: readonly string[]): string {
  return texts.reduce((all, text, index) => `${all}${encodeURIComponent(parts[index - 1] ?? '')}${text}`);
}

/**
 * Creates a client for the cluster that a kubeconfig selects, or for the cluster that the Pod runs in.
 * @param kubeconfig the path to the kubeconfig, or undefined inside a Pod
 * @throws MeshpassError `config_invalid`
 */
export async function connectKubernetes(kubeconfig: string | undefined): Promise<KubernetesHttp> {
  return createKubernetesHttp(kubeconfig ? await kubeconfigAccess(kubeconfig) : await podAccess(process.env));
}

/** Creates a client that opens its connections on demand. */
export function createKubernetesHttp(access: KubernetesEndpoint) {
  const { servername, ...material } = access.tls;
  const secureContext = createSecureContext(material);
  const options = { secureContext, keepAlive: true, ...(servername && { servername }) };
  const agent = new https.Agent({ ...options, maxSockets: MAX_SOCKETS, scheduling: 'lifo' });
  // Watches occupy a connection for minutes, so they must not share connections with other calls.
  const watchAgent = new https.Agent({ ...options, keepAlive: false });

  const open = async (call: KubernetesCall, via: https.Agent): Promise<IncomingMessage> => {
    const payload = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const authorization = await access.authorization().catch((cause) => {
      throw unavailable(call, { cause });
    });
    const headers = {
      accept: call.accept ?? 'application/json',
      ...(authorization && { authorization }),
      ...(payload && { 'content-type': call.contentType ?? 'application/json', 'content-length': payload.length }),
    };
    const query = call.query ? `?${new URLSearchParams(call.query)}` : '';
    const attempt = (again: boolean): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const { method, signal } = call;
        const timeout = via === agent ? CALL_TIMEOUT_MS : STREAM_SILENCE_MS;
        const request = https.request(`${access.server}${call.path}${query}`, {
          agent: via,
          method,
          headers,
          timeout,
          ...(signal && { signal }),
        });
        request.on('timeout', () => request.destroy(new Error(`no response within ${timeout} ms`)));
        request.on('response', resolve);
        request.on('error', (cause: NodeJS.ErrnoException) => {
          // The server may close a keep-alive connection just as the client writes to it. In that case, it has not
          // processed the request, so the request can safely be sent again.
          if (again && request.reusedSocket && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')) {
            attempt(false).then(resolve, reject);
          } else reject(unavailable(call, { cause }));
        });
        request.end(payload);
      });
    return attempt(true);
  };

  return {
    /**
     * Sends a request to the API server and reads the complete response.
     * @throws MeshpassError `kubernetes_unavailable`, with the API server's status, reason and message in the details
     */
    call: async (call: KubernetesCall) => {
      const response = await open(call, agent);
      const status = response.statusCode ?? 0;
      const text = await read(response).catch((cause) => {
        throw unavailable(call, { cause });
      });
      if (status >= 200 && status < 300) return { status, body: json(call, text) };
      // For an expected failure, the status is enough. The body cannot be parsed anyway if an API is not installed,
      // because it is plain text.
      if (call.expect?.includes(status)) return { status, body: undefined };
      throw refused(call, status, text, response.headers['retry-after']);
    },
    /**
     * Sends a request and calls `onLine` for every line of the streamed response. Resolves when the server ends the
     * response.
     */
    stream: async (call: KubernetesCall, onLine: (line: string) => void) => {
      const response = await open(call, watchAgent);
      const status = response.statusCode ?? 0;
      try {
        if (status !== 200) throw refused(call, status, await read(response), undefined);
        const lines = createLineReader(() => MAX_BODY_BYTES);
        const take = (line: string) => {
          if (line !== '') onLine(line);
        };
        for await (const chunk of response as AsyncIterable<Buffer>) {
          if (!lines.push(chunk, take)) throw new Error('a watch line is too long');
        }
      } catch (cause) {
        response.destroy();
        throw cause instanceof MeshpassError ? cause : unavailable(call, { cause });
      }
    },
    close: () => {
      agent.destroy();
      watchAgent.destroy();
    },
  };
}

async function read(response: IncomingMessage): Promise<string> {
  return (await readBounded(response, MAX_BODY_BYTES)).toString();
}

function json(call: KubernetesCall, text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch (cause) {
    throw unavailable(call, { cause });
  }
}

/**
 * Builds the error for an unexpected status. It includes the API server's Status object, which explains the failure and
 * never contains any of the broker's secrets.
 */
function refused(call: KubernetesCall, status: number, text: string, after: string | undefined): MeshpassError {
  let reason: unknown;
  let message: unknown;
  try {
    ({ reason, message } = JSON.parse(text));
  } catch {
    message = text.slice(0, 200); // proxies respond with HTML
  }
  const retryAfter = Number(after) > 0 ? Number(after) : undefined;
  return unavailable(call, { status, reason, message: String(message).slice(0, 1000), retryAfter });
}

function unavailable(
  call: KubernetesCall,
  why: { cause?: unknown; status?: number; reason?: unknown; message?: string; retryAfter?: number | undefined },
): MeshpassError {
  const { cause, retryAfter, ...said } = why;
  const text = 'The request to Kubernetes failed. Nothing was issued. Try again shortly.';
  const reachable = why.status === undefined ? { connection: String((cause as Error)?.message ?? cause) } : {};
  return new MeshpassError('kubernetes_unavailable', text, {
    ...(cause !== undefined && { cause }),
    detail: { method: call.method, path: call.path, ...said, ...reachable },
    retryAfter: retryAfter ?? 2,
  });
}

/**
 * Converts an error that Kubernetes would return on every attempt into one that is meant for the author of the change.
 * @returns a MeshpassError with the code `policy_forbidden`, or undefined if a retry may succeed
 */
export function toPermanentError(error: MeshpassError): MeshpassError | undefined {
  if (!isFinal(error)) return undefined;
  const { method, path, message } = error.detail;
  const said = String(message).split('\n')[0]!.slice(0, 300);
  return new MeshpassError('policy_forbidden', `Kubernetes rejected ${method} ${path}: ${said}`, { cause: error });
}

/**
 * Whether the request failed because the object's namespace was deleted after the cluster had been listed. The next
 * list will no longer contain that namespace.
 */
export function isNamespaceTerminating({ detail }: MeshpassError): boolean {
  return detail.status === 403 && String(detail.message).includes('because it is being terminated');
}

function isFinal(error: MeshpassError): boolean {
  const { code, detail } = error;
  const status = Number(detail.status ?? 0);
  if (isNamespaceTerminating(error)) return false;
  return code === 'kubernetes_unavailable' && status >= 400 && status < 500 && ![408, 409, 429].includes(status);
}
