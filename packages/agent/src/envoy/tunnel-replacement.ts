/**
 * Decides when to replace tunnels (decision 0033): after a certificate's principal has changed, or before an edge shuts
 * down. A draining edge announces its shutdown repeatedly for as long as it carries a tunnel. An edge that lies can
 * cause only a bounded number of new tunnels and no failed requests.
 */

/** Maximum random delay, ms. It keeps the agents of a draining edge from replacing their tunnels all at once. */
const SPREAD_MS = 1_500;
/**
 * Minimum time between two replacements, ms. Announcements that are ignored because of it are repeated by the edges.
 */
const LEAST_MS = 5_000;
/**
 * Burst size for replacements, and the time until another replacement is allowed, ms. Draining edges repeat their
 * announcement for longer than that (`--drain`, 20 s by default). An honest edge is therefore heard before it ends, no
 * matter what other edges have announced.
 */
const BURST = 4;
const REGAINED_MS = 12_000;

export class TunnelReplacement {
  readonly #random: () => number;
  readonly #replace: (generation: number) => void;
  readonly #now: () => number;
  #generation = 0;
  #forEdges = 0;
  /** Generation that Envoy has accepted last. */
  #taken = 0;
  /** Time at which Envoy began to open tunnels of this generation. */
  #since = Number.NEGATIVE_INFINITY;
  /** Time at which tunnels were last replaced because of an edge. */
  #replacedAt = Number.NEGATIVE_INFINITY;
  /** Number of replacements that edges could still cause at `#countedAt`. */
  #left = BURST;
  #countedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param random returns a number in [0, 1)
   * @param replace sends the clusters of a new generation to Envoy
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

  /** Generation of the clusters that were last sent to Envoy. */
  get generation(): number {
    return this.#generation;
  }

  /** Number of replacements that edges have caused. */
  get forEdges(): number {
    return this.#forEdges;
  }

  /** Replaces all tunnels immediately. Existing tunnels must not carry further requests. */
  atOnce(): void {
    // A replacement that is scheduled for an edge would only replace new tunnels.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#begin();
  }

  /**
   * Handles the announcement of a draining edge.
   * @param newestMs age of its newest tunnel, ms
   */
  draining(newestMs: number): void {
    const now = this.#now();
    // Tunnels that existed before the last replacement end on their own once their requests are complete.
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
   * @returns whether their generation is new
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
