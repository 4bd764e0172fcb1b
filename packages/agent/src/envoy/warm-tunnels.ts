/**
 * Opens tunnels before the next call: for the first Envoy, for each successor, and after tunnels are replaced. Each new
 * session replaces them once Envoy has its certificates.
 */
import { openTunnels, type TunnelsOptions } from './open-tunnels.ts';

export interface WarmTunnelsOptions extends Omit<TunnelsOptions, 'clusters'> {
  /** Names of the clusters to connect to at present. */
  readonly clusters: () => readonly string[];
}

export class WarmTunnels {
  readonly #options: WarmTunnelsOptions;
  #begun = false;
  /** Process id of the Envoy that last opened tunnels. */
  #envoy: number | undefined;

  constructor(options: WarmTunnelsOptions) {
    this.#options = options;
  }

  /** Opens tunnels once the first Envoy listens. @param envoy its process id */
  begin(envoy: number | undefined): void {
    this.#begun = true;
    this.#open(envoy);
  }

  /** Opens tunnels for a new Envoy that has its listeners and certificates. @param envoy its process id */
  envoyListens(envoy: number | undefined): void {
    if (this.#begun && envoy !== this.#envoy) this.#open(envoy);
  }

  /** Opens new tunnels after Envoy has closed the previous ones. */
  replaced(): void {
    if (this.#begun) this.#open(this.#envoy);
  }

  #open(envoy: number | undefined): void {
    this.#envoy = envoy;
    void openTunnels({ ...this.#options, clusters: this.#options.clusters() });
  }
}
