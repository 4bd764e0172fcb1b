/**
 * When tunnels are replaced (decision 0033): because certificates are of another principal now, or an edge is about to end. Edges say so, again
 * and again while they carry one, and an edge may lie: it costs the workspace new tunnels, a bounded number of times, and no request.
 */

/** Edges that end together, and all of their agents, are not to have it done in the same moment, ms. */
const SPREAD_MS = 1_500;
/** Least time between two replacements, ms. What is left out is said again. */
const LEAST_MS = 5_000;
/**
 * Replacements that follow each other so, and after how many ms there is another one. Edges that drain say so for longer (`--drain`, 20 s by
 * default), so that whatever an edge said before, one that tells the truth is heard before it ends.
 */
const BURST = 4;
const REGAINED_MS = 12_000;

export class TunnelReplacement {
  readonly #random: () => number;
  readonly #replace: (generation: number) => void;
  readonly #now: () => number;
  #generation = 0;
  #forEdges = 0;
  /** Envoy has taken it. */
  #taken = 0;
  /** Since when Envoy opens tunnels of this generation. */
  #since = Number.NEGATIVE_INFINITY;
  /** Of the last replacement for an edge. */
  #replacedAt = Number.NEGATIVE_INFINITY;
  /** Replacements for edges that are left, as of `#countedAt`. */
  #left = BURST;
  #countedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param random in [0, 1)
   * @param replace gives Envoy the clusters of a new generation
   * @param now milliseconds of a clock that nobody sets
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

  /** Of what Envoy is given. */
  get generation(): number {
    return this.#generation;
  }

  /** How often tunnels were replaced because of edges. */
  get forEdges(): number {
    return this.#forEdges;
  }

  /** At once: what was made before must not be used any more. */
  atOnce(): void {
    // That of an edge would come after tunnels that are new already.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#begin();
  }

  /** An edge that is about to end carries tunnels; the newest is so many ms old. */
  draining(newestMs: number): void {
    const now = this.#now();
    // Those that are older than the last replacement end by themselves, with what is under way on them.
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

  /** Envoy took clusters. @returns whether they are of another generation than those that it took before */
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
