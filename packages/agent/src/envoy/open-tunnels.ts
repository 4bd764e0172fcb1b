/** Has Envoy open a connection to each of some clusters, from each of its threads, through its warm-up listener (xds/warm-up.ts). */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from '../http.ts';

export interface TunnelsOptions {
  /** The listener's socket. */
  readonly socketPath: string;
  readonly header: string;
  readonly clusters: readonly string[];
  /** Of Envoy. */
  readonly threads: number;
  /** Longest that the listener is waited for, ms. */
  readonly patience?: number;
}

const PATIENCE = 3_000;
const POLL = 50;
const TIMEOUT = 2_000;

/** Returns when Envoy has begun to connect. What fails is left to the first call, which tells why. */
export async function openTunnels({
  socketPath,
  header,
  clusters,
  threads,
  patience = PATIENCE,
}: TunnelsOptions): Promise<void> {
  if (clusters.length === 0) return;
  const agent = new Agent({ keepAlive: true, maxSockets: threads });
  const ask = (cluster: string) =>
    new Promise<boolean>((resolve) => {
      const outgoing = request({
        socketPath,
        agent,
        headers: { host: 'meshpass', [header]: cluster },
        timeout: TIMEOUT,
      });
      outgoing.on('response', (answer) => {
        answer.resume();
        answer.on('end', () => resolve(true));
        answer.on('error', () => resolve(true));
      });
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', () => resolve(false));
      outgoing.end();
    });
  try {
    for (const end = performance.now() + patience; ; await sleep(POLL)) {
      const asked = await Promise.all(Array.from({ length: threads }, () => ask(clusters[0]!)));
      if (asked.every(Boolean)) break;
      if (performance.now() > end) return;
    }
    for (const cluster of clusters.slice(1)) await Promise.all(Array.from({ length: threads }, () => ask(cluster)));
  } finally {
    agent.destroy();
  }
}
