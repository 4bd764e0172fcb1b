/**
 * When tunnels are opened before the next call: with the first Envoy, with each that takes its place, with each new session, whose
 * predecessor's tunnels the edge has cut, and where tunnels were replaced. Not before Envoy has the certificates: with those of the
 * session before, the edge refuses.
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
  /** Grants whose certificates of the present session Envoy does not have yet. */
  readonly #awaited = new Set<string>();

  constructor(options: WarmTunnelsOptions) {
    this.#options = options;
  }

  /** The first Envoy listens. @param envoy its process id */
  begin(envoy: number | undefined): void {
    this.#begun = true;
    this.#awaited.clear();
    this.#open(envoy);
  }

  /** @param grants that have a certificate */
  sessionBegins(grants: readonly string[]): void {
    this.#awaited.clear();
    for (const grant of grants) this.#awaited.add(grant);
  }

  /** Envoy took secrets of these names. */
  certificatesTaken(names: readonly string[]): void {
    const waited = this.#awaited.size > 0;
    for (const name of names) this.#awaited.delete(name);
    if (this.#begun && waited && this.#awaited.size === 0) this.#open(this.#envoy);
  }

  /** It has all that it needs for its listeners, certificates too. @param envoy its process id */
  envoyListens(envoy: number | undefined): void {
    if (this.#begun && envoy !== this.#envoy) this.#open(envoy);
  }

  /** Envoy ends those that it had. */
  replaced(): void {
    if (this.#begun && this.#awaited.size === 0) this.#open(this.#envoy);
  }

  #open(envoy: number | undefined): void {
    this.#envoy = envoy;
    void openTunnels({ ...this.#options, clusters: this.#options.clusters() });
  }
}
