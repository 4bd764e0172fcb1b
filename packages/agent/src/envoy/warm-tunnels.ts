/**
 * Opens tunnels before they are needed: for the first Envoy, for each of its successors, and after tunnels have been
 * replaced. A new session replaces all tunnels once Envoy has its certificates.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request, sendAndRead } from '../http.ts';

export interface WarmTunnelsOptions extends Omit<TunnelsOptions, 'clusters'> {
  /** Returns the names of the clusters that Envoy should currently connect to. */
  readonly clusters: () => readonly string[];
}

export class WarmTunnels {
  readonly #options: WarmTunnelsOptions;
  #begun = false;
  /** Process id of the Envoy for which tunnels were last opened. */
  #envoy: number | undefined;

  constructor(options: WarmTunnelsOptions) {
    this.#options = options;
  }

  /**
   * Opens tunnels once the first Envoy listens.
   * @param envoy its process id
   */
  begin(envoy: number | undefined): void {
    this.#begun = true;
    this.#open(envoy);
  }

  /**
   * Opens tunnels for a new Envoy once it has its listeners and certificates.
   * @param envoy its process id
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

// Makes Envoy connect to clusters through its warm-up listener (xds/warm-up.ts).

interface TunnelsOptions {
  /** Unix socket of the warm-up listener. */
  readonly socketPath: string;
  readonly header: string;
  readonly clusters: readonly string[];
}

/** Maximum time to wait for the listener, ms. */
const PATIENCE = 3_000;
const POLL = 50;
const TIMEOUT = 2_000;
const LARGEST = 65_536;

/**
 * Returns once Envoy has started to connect. Failures are not reported here. The first call fails instead and reports
 * the reason.
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
