/**
 * Decides when to replace tunnels (decision 0033): after a certificate's principal changed, or before an edge shuts
 * down. A draining edge announces its shutdown repeatedly while it carries a tunnel. A lying edge can cause only a
 * bounded number of new tunnels and no failed requests.
 */

/** Maximum random delay in ms, so that agents of draining edges do not all replace their tunnels at once. */
const SPREAD_MS = 1_500;
/** Minimum time between two replacements, ms. Edges repeat announcements that are ignored. */
const LEAST_MS = 5_000;
/**
 * Replacement burst size, and the time in ms until another replacement is allowed. Draining edges repeat their
 * announcement for longer than that (`--drain`, 20 s by default), so an honest edge is heard before it ends, no matter
 * what other edges announced before.
 */
const BURST = 4;
const REGAINED_MS = 12_000;

export class TunnelReplacement {
  readonly #random: () => number;
  readonly #replace: (generation: number) => void;
  readonly #now: () => number;
  #generation = 0;
  #forEdges = 0;
  /** Generation that Envoy has accepted. */
  #taken = 0;
  /** When Envoy began to open tunnels of this generation. */
  #since = Number.NEGATIVE_INFINITY;
  /** When tunnels were last replaced for an edge. */
  #replacedAt = Number.NEGATIVE_INFINITY;
  /** Replacements left for edges, as of `#countedAt`. */
  #left = BURST;
  #countedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param random returns a number in [0, 1)
   * @param replace sends Envoy the clusters of a new generation
   * @param now monotonic clock, ms
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

  /** Generation of the clusters sent to Envoy. */
  get generation(): number {
    return this.#generation;
  }

  /** Number of replacements that edges caused. */
  get forEdges(): number {
    return this.#forEdges;
  }

  /** Replaces all tunnels immediately: the existing ones must not carry further requests. */
  atOnce(): void {
    // A replacement scheduled for an edge would only replace new tunnels.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#begin();
  }

  /** Handles a draining edge's announcement. @param newestMs age of its newest tunnel */
  draining(newestMs: number): void {
    const now = this.#now();
    // Tunnels from before the last replacement end on their own once their requests are complete.
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

  /** Records that Envoy accepted clusters. @returns whether their generation is new */
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
