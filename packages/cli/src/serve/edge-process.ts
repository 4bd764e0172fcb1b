/**
 * Runs the edge process. It reloads the edge's certificate when the file changes, and serves probes and metrics on a
 * separate listener.
 */
import { statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { readKeyPair } from '@meshpass/broker/http/key-pair';
import { type Edge, type EdgeLog, formatStats, type SessionDirectory, startEdge } from '@meshpass/edge';
import type { HostPort } from '../command/flag.ts';

interface EdgeProcessOptions extends Omit<Parameters<typeof startEdge>[0], 'tls'> {
  readonly tlsCert: string;
  readonly tlsKey: string;
  readonly operatorListen?: HostPort | undefined;
  readonly log: EdgeLog;
}

export type EdgeProcess = Awaited<ReturnType<typeof runEdge>>;

const CERTIFICATE_POLL_MS = 10_000;

/**
 * Starts an edge.
 * @throws MeshpassError `config_invalid` if the certificate or the key cannot be used or if other users can read the
 *   key, or any error thrown by startEdge()
 */
export async function runEdge({ tlsCert, tlsKey, operatorListen, ...options }: EdgeProcessOptions) {
  const { directory, log } = options;
  const read = () => readKeyPair({ certFile: tlsCert, keyFile: tlsKey });
  const edge = await startEdge({ ...options, tls: read() });
  let taken = changedAt(tlsCert, tlsKey);
  let problem: string | undefined;
  const poll = setInterval(() => {
    const now = changedAt(tlsCert, tlsKey);
    if (now === taken) return;
    try {
      edge.renew(read());
      [taken, problem] = [now, undefined];
      log.info({}, 'the edge loaded its renewed certificate');
    } catch (err) {
      // Try again at the next poll. Only one of the two files may have been replaced so far, or the key file may have
      // the wrong mode.
      if (String(err) !== problem) log.warn({ err }, "the edge's new certificate is unusable; keeping the old one");
      problem = String(err);
    }
  }, CERTIFICATE_POLL_MS);
  poll.unref();
  const operator = operatorListen && (await listenOperator(edge, directory, operatorListen));
  return {
    /** Fails the readiness probe, but keeps serving until there are no tunnels left or `longestMs` has passed. */
    drain: async (longestMs: number) => void (await edge.drain(longestMs)),
    async close() {
      clearInterval(poll);
      operator?.close();
      await edge.close();
      directory.close();
    },
  };
}

function changedAt(...files: readonly string[]): string {
  try {
    return files.map((file) => statSync(file).mtimeMs).join(' ');
  } catch {
    return 'gone';
  }
}

function listenOperator(edge: Edge, directory: SessionDirectory, listen: HostPort): Promise<Server> {
  const server = createServer((request, response) => {
    switch (request.url) {
      case '/healthz':
        return response.end('ok\n');
      case '/readyz': {
        if (edge.isDraining()) {
          response.statusCode = 503;
          return response.end('the edge is draining\n');
        }
        const state = directory.state();
        response.statusCode = state === 'fresh' ? 200 : 503;
        return response.end(`the feed of the broker is ${state}\n`);
      }
      case '/metrics':
        response.setHeader('content-type', 'text/plain; version=0.0.4');
        return response.end(formatStats(edge.stats()));
      default:
        response.statusCode = 404;
        return response.end();
    }
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen.port, listen.host, () => resolve(server));
  });
}

/** Resolves on SIGTERM or SIGINT. If a second signal arrives, the process exits immediately. */
export function waitForSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        resolve(signal);
      });
    }
  });
}
