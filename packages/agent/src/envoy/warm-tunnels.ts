/**
 * When tunnels are opened before the next call: with the first Envoy, with each that takes its place, and where tunnels were replaced, as they
 * are for each new session once Envoy has its certificates.
 */
import { openTunnels, type TunnelsOptions } from './open-tunnels.ts';

export interface WarmTunnelsOptions extends Omit<TunnelsOptions, 'clusters'> {
  /** To be connected to, as things are. */
  readonly clusters: () => readonly string[];
}

export class WarmTunnels {
  readonly #options: WarmTunnelsOptions;
  #begun = false;
  /** The Envoy that was told last. */
  #envoy: number | undefined;

  constructor(options: WarmTunnelsOptions) {
    this.#options = options;
  }

  /** The first Envoy listens. @param envoy its process id */
  begin(envoy: number | undefined): void {
    this.#begun = true;
    this.#open(envoy);
  }

  /** It has all that it needs for its listeners, certificates too. @param envoy its process id */
  envoyListens(envoy: number | undefined): void {
    if (this.#begun && envoy !== this.#envoy) this.#open(envoy);
  }

  /** Envoy ends those that it had. */
  replaced(): void {
    if (this.#begun) this.#open(this.#envoy);
  }

  #open(envoy: number | undefined): void {
    this.#envoy = envoy;
    void openTunnels({ ...this.#options, clusters: this.#options.clusters() });
  }
}
