/**
 * Whether Envoy has the certificates of a session that took the place of another, or of a grant that was lost and regained. It gives them to one
 * cluster after the other. A connection that a program asks for in between may have a tunnel of the new session around the TLS of the one before:
 * edges let it live, and workloads refuse all that comes by it. No connection of before may be used from then on.
 */

/** Grants that are remembered: a broker could name others without end. */
const MOST = 1_000;

export class Principals {
  /** SPIFFE id of each grant that has had a certificate, the oldest first. */
  readonly #known = new Map<string, string>();
  /** Grants whose certificates Envoy does not have yet, of those whose SPIFFE id is another one. */
  #awaited = new Set<string>();
  #changed = false;
  #begun = false;

  /**
   * @param svids by grant, as Envoy is given them next
   * @param isSession they are of another session, or the first: what it has for the first time is told as well, except at the first
   * @returns as `taken`: what was still awaited may have been lost
   */
  given(svids: ReadonlyMap<string, { readonly spiffeId: string }>, isSession: boolean): boolean {
    this.#awaited = new Set([...this.#awaited].filter((grant) => svids.has(grant)));
    for (const [grant, { spiffeId }] of svids) {
      const before = this.#known.get(grant);
      this.#known.delete(grant);
      this.#known.set(grant, spiffeId);
      if (this.#known.size > MOST) this.#known.delete(this.#known.keys().next().value!);
      if (before === spiffeId || (before === undefined && !(isSession && this.#begun))) continue;
      this.#awaited.add(grant);
      this.#changed = true;
    }
    this.#begun = true;
    return this.taken([]);
  }

  /**
   * @param names of the secrets that Envoy took, as they are now
   * @returns whether it has all of them now, where it had others before; told once
   */
  taken(names: readonly string[]): boolean {
    for (const name of names) this.#awaited.delete(name);
    if (!this.#changed || this.#awaited.size > 0) return false;
    this.#changed = false;
    return true;
  }
}
