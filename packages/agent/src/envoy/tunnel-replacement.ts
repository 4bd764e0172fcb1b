/**
 * Decides when to replace tunnels (decision 0033): after the principal of a certificate has changed, or before an edge
 * shuts down. A draining edge keeps announcing its shutdown for as long as it carries a tunnel. A malicious edge can
 * only cause a limited number of new tunnels, and no failed requests.
 */

/**
 * The maximum random delay, in milliseconds. It prevents all agents of a draining edge from replacing their tunnels at
 * once.
 */
const SPREAD_MS = 1_500;
/**
 * The minimum time between two replacements, in milliseconds. If an announcement is ignored because of it, the edge
 * repeats the announcement.
 */
const LEAST_MS = 5_000;
/**
 * The number of replacements that are allowed in quick succession. Another one is allowed every `REGAINED_MS`
 * milliseconds. Draining edges repeat their announcement for longer than that (`--drain`, 20 seconds by default), so an
 * honest edge is heard before it shuts down, no matter what other edges have announced.
 */
const BURST = 4;
const REGAINED_MS = 12_000;

export class TunnelReplacement {
  readonly #random: () => number;
  readonly #replace: (generation: number) => void;
  readonly #now: () => number;
  #generation = 0;
  #forEdges = 0;
  /** The generation that Envoy accepted last. */
  #taken = 0;
  /** When Envoy started to open tunnels of this generation. */
  #since = Number.NEGATIVE_INFINITY;
  /** When tunnels were last replaced because an edge was about to shut down. */
  #replacedAt = Number.NEGATIVE_INFINITY;
  /** The number of replacements that edges could still cause at the time of `#countedAt`. */
  #left = BURST;
  #countedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param random returns a random number in [0, 1)
   * @param replace sends the clusters of a new generation to Envoy
   * @param now a monotonic clock, in milliseconds
   */
  constructor(
    random: () => number,
    replace: (generation: number) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#random = random;
    this.#replace = replace;
    this.#now = now;
  }

  /** The generation of the clusters that were last sent to Envoy. */
  get generation(): number {
    return this.#generation;
  }

  /** The number of replacements caused by edges that were about to shut down. */
  get forEdges(): number {
    return this.#forEdges;
  }

  /** Replaces all tunnels immediately, because the existing ones must not carry any more requests. */
  atOnce(): void {
    // All tunnels are replaced now, so a replacement that is scheduled because of an edge is no longer needed.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#begin();
  }

  /**
   * Handles an announcement from an edge that is draining.
   * @param newestMs the age of the edge's newest tunnel, in milliseconds
   */
  draining(newestMs: number): void {
    const now = this.#now();
    // Tunnels from before the last replacement end on their own, as soon as their requests are complete.
    if (this.#timer || now - newestMs < this.#since || !this.#mayReplace(now)) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#replacedAt = this.#now();
      this.#left--;
      this.#forEdges++;
      this.#begin();
    }, this.#random() * SPREAD_MS).unref();
  }

  #begin(): void {
    this.#since = this.#now();
    this.#generation++;
    this.#replace(this.#generation);
  }

  /**
   * Records that Envoy has accepted clusters.
   * @returns whether the generation of the clusters is new
   */
  taken(): boolean {
    if (this.#taken === this.#generation) return false;
    this.#taken = this.#generation;
    this.#since = this.#now();
    return true;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #mayReplace(now: number): boolean {
    this.#left = Math.min(BURST, this.#left + (now - this.#countedAt) / REGAINED_MS);
    this.#countedAt = now;
    return this.#left >= 1 && now - this.#replacedAt >= LEAST_MS;
  }
}
