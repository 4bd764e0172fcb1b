/**
 * HTTP to the Kubernetes API: kept-alive connections, bounded times and sizes, and one kind of failure. Plain
 * node:https, because every certificate costs two of these calls.
 */

import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { createSecureContext } from 'node:tls';
import { MeshpassError } from '@meshpass/identity';
import type { KubernetesAccess } from './access.ts';

export interface KubernetesCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Made by `path`, never by hand: every part is encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Statuses beyond 2xx that are answers and not failures. */
  readonly expect?: readonly number[];
  readonly signal?: AbortSignal;
}

export interface KubernetesAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface KubernetesHttp {
  /** @throws MeshpassError `kubernetes_unavailable`, with status, reason and message of the API server in its detail */
  call(call: KubernetesCall): Promise<KubernetesAnswer>;
  /** Calls `onLine` for every line of an endless answer; resolves when the server ends it. */
  stream(call: KubernetesCall, onLine: (line: string) => void): Promise<void>;
  close(): void;
}

const CALL_TIMEOUT_MS = 5_000;
/** A watch that is told nothing, not even a bookmark (one a minute), has lost its server. */
const STREAM_SILENCE_MS = 150_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const MAX_SOCKETS = 64;

/** `path\`/api/v1/namespaces/${namespace}\``: every inserted part is percent-encoded. */
export function path(texts: TemplateStringsArray, ...parts: readonly string[]): string {
  return texts.reduce((all, text, index) => `${all}${encodeURIComponent(parts[index - 1] ?? '')}${text}`);
}

/** Opens nothing yet; connections are made as calls need them. */
export function kubernetesHttp(access: KubernetesAccess): KubernetesHttp {
  const { servername, ...material } = access.tls;
  const secureContext = createSecureContext(material);
  const options = { secureContext, keepAlive: true, ...(servername && { servername }) };
  const agent = new https.Agent({ ...options, maxSockets: MAX_SOCKETS, scheduling: 'lifo' });
  // Watches hold a connection each for minutes; they must not take them from calls.
  const watchAgent = new https.Agent({ ...options, keepAlive: false });

  const open = async (call: KubernetesCall, via: https.Agent): Promise<IncomingMessage> => {
    const payload = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const authorization = await access.authorization().catch((cause) => {
      throw unavailable(call, { cause });
    });
    const headers = {
      accept: 'application/json',
      ...(authorization && { authorization }),
      ...(payload && { 'content-type': call.contentType ?? 'application/json', 'content-length': payload.length }),
    };
    const query = call.query ? `?${new URLSearchParams(call.query)}` : '';
    const attempt = (again: boolean): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const { method, signal } = call;
        const timeout = via === agent ? CALL_TIMEOUT_MS : STREAM_SILENCE_MS;
        const request = https.request(`${access.server}${call.path}${query}`, {
          ...{ agent: via, method, headers, timeout },
          ...(signal && { signal }),
        });
        request.on('timeout', () => request.destroy(new Error(`no answer within ${timeout} ms`)));
        request.on('response', resolve);
        request.on('error', (cause: NodeJS.ErrnoException) => {
          // The server may close a kept-alive connection just as we write to it; that request was not looked at.
          if (again && request.reusedSocket && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')) {
            attempt(false).then(resolve, reject);
          } else reject(unavailable(call, { cause }));
        });
        request.end(payload);
      });
    return attempt(true);
  };

  return {
    call: async (call) => {
      const response = await open(call, agent);
      const status = response.statusCode ?? 0;
      const text = await collect(response).catch((cause) => {
        throw unavailable(call, { cause });
      });
      if (status >= 200 && status < 300) return { status, body: json(call, text) };
      // What is expected of a failure is its status: of an API that is not installed the server says so in plain text.
      if (call.expect?.includes(status)) return { status, body: undefined };
      throw refused(call, status, text, response.headers['retry-after']);
    },
    stream: async (call, onLine) => {
      const response = await open(call, watchAgent);
      const status = response.statusCode ?? 0;
      try {
        if (status !== 200) throw refused(call, status, await collect(response), undefined);
        response.setEncoding('utf8');
        let rest = '';
        for await (const chunk of response as AsyncIterable<string>) {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop()!;
          if (rest.length > MAX_BODY_BYTES) throw new Error('a line of the watch is too long');
          for (const line of lines) if (line !== '') onLine(line);
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

async function collect(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error(`an answer of more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function json(call: KubernetesCall, text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch (cause) {
    throw unavailable(call, { cause });
  }
}

/** The API server answered, and not with what was asked for. Its Status object says why; it holds no secret of ours. */
function refused(call: KubernetesCall, status: number, text: string, after: string | undefined): MeshpassError {
  let reason: unknown;
  let message: unknown;
  try {
    ({ reason, message } = JSON.parse(text));
  } catch {
    message = text.slice(0, 200); // a proxy in between answers in HTML
  }
  const retryAfter = Number(after) > 0 ? Number(after) : undefined;
  return unavailable(call, { status, reason, message: String(message).slice(0, 1000), retryAfter });
}

function unavailable(
  call: KubernetesCall,
  why: { cause?: unknown; status?: number; reason?: unknown; message?: string; retryAfter?: number | undefined },
): MeshpassError {
  const { cause, retryAfter, ...said } = why;
  const text = 'Kubernetes does not answer properly; nothing was issued. Try again shortly.';
  const reachable = why.status === undefined ? { connection: String((cause as Error)?.message ?? cause) } : {};
  return new MeshpassError('kubernetes_unavailable', text, {
    ...(cause !== undefined && { cause }),
    detail: { method: call.method, path: call.path, ...said, ...reachable },
    retryAfter: retryAfter ?? 2,
  });
}

/**
 * What to tell whoever asked for the write, where Kubernetes has answered and will answer the same again.
 * @returns MeshpassError `policy_forbidden`; undefined where trying again may help
 */
export function permanentRefusal(error: MeshpassError): MeshpassError | undefined {
  if (!isFinal(error)) return undefined;
  const { method, path, message } = error.detail;
  const said = String(message).split('\n')[0]!.slice(0, 300);
  return new MeshpassError('policy_forbidden', `Kubernetes refused ${method} ${path}: ${said}`, { cause: error });
}

function isFinal({ code, detail }: MeshpassError): boolean {
  const status = Number(detail.status ?? 0);
  // A namespace that ended after the cluster was looked at: the next look will not have it.
  if (status === 403 && String(detail.message).includes('because it is being terminated')) return false;
  return code === 'kubernetes_unavailable' && status >= 400 && status < 500 && ![408, 409, 429].includes(status);
}
