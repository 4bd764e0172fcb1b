/**
 * Opens tunnels before they are needed: for the first Envoy process, for each of its successors, and whenever tunnels
 * have been replaced. A new session replaces all tunnels as soon as Envoy has received its certificates.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request, sendAndRead } from '../http.ts';

export interface WarmTunnelsOptions extends Omit<TunnelsOptions, 'clusters'> {
  /** Returns the names of the clusters that Envoy should connect to. */
  readonly clusters: () => readonly string[];
}

export class WarmTunnels {
  readonly #options: WarmTunnelsOptions;
  #begun = false;
  /** The process ID of the Envoy for which tunnels were last opened. */
  #envoy: number | undefined;

  constructor(options: WarmTunnelsOptions) {
    this.#options = options;
  }

  /**
   * Opens tunnels once the first Envoy process is listening.
   * @param envoy the process ID of Envoy
   */
  begin(envoy: number | undefined): void {
    this.#begun = true;
    this.#open(envoy);
  }

  /**
   * Opens tunnels for a new Envoy process once it has its listeners and certificates.
   * @param envoy the process ID of Envoy
   */
  envoyListens(envoy: number | undefined): void {
    if (this.#begun && envoy !== this.#envoy) this.#open(envoy);
  }

  /** Opens new tunnels once Envoy has closed the previous ones. */
  replaced(): void {
    if (this.#begun) this.#open(this.#envoy);
  }

  #open(envoy: number | undefined): void {
    this.#envoy = envoy;
    void openTunnels({ ...this.#options, clusters: this.#options.clusters() });
  }
}

// Sends requests to the warm-up listener (xds/warm-up.ts), which make Envoy connect to its clusters.

interface TunnelsOptions {
  /** The Unix socket of the warm-up listener. */
  readonly socketPath: string;
  readonly header: string;
  readonly clusters: readonly string[];
}

/** How long to wait for the warm-up listener, in milliseconds. */
const PATIENCE = 3_000;
const POLL = 50;
const TIMEOUT = 2_000;
const LARGEST = 65_536;

/**
 * Returns once Envoy has started to connect. Failures are not reported here, because the first call will fail and
 * report the reason.
 */
async function openTunnels({ socketPath, header, clusters }: TunnelsOptions): Promise<void> {
  const [first, ...others] = clusters;
  if (first === undefined) return;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (cluster: string) => {
    const headers = { host: 'meshpass', [header]: cluster };
    const outgoing = request({ socketPath, agent, headers, signal: AbortSignal.timeout(TIMEOUT) });
    return sendAndRead(outgoing, LARGEST).then(
      () => true,
      () => false,
    );
  };
  try {
    for (const end = performance.now() + PATIENCE; !(await ask(first)); await sleep(POLL)) {
      if (performance.now() > end) return;
    }
    for (const cluster of others) await ask(cluster);
  } finally {
    agent.destroy();
  }
}
