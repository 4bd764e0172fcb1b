/** Makes Envoy connect to some clusters through its warm-up listener (xds/warm-up.ts). */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from '../http.ts';

export interface TunnelsOptions {
  /** The listener's socket. */
  readonly socketPath: string;
  readonly header: string;
  readonly clusters: readonly string[];
}

/** Maximum time to wait for the listener, ms. */
const PATIENCE = 3_000;
const POLL = 50;
const TIMEOUT = 2_000;

/** Returns once Envoy has started to connect. Failures show up in the first call, which reports the reason. */
export async function openTunnels({ socketPath, header, clusters }: TunnelsOptions): Promise<void> {
  const [first, ...others] = clusters;
  if (first === undefined) return;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
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
    for (const end = performance.now() + PATIENCE; !(await ask(first)); await sleep(POLL)) {
      if (performance.now() > end) return;
    }
    for (const cluster of others) await ask(cluster);
  } finally {
    agent.destroy();
  }
}
