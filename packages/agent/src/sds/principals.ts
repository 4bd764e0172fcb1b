/**
 * Tracks whether Envoy has received the certificates of a new session, or of a grant that was lost and regained. Envoy
 * updates its clusters one after the other, so a connection that is opened in the meantime may combine a tunnel of the
 * new session with TLS of the previous one. Edges accept such a connection, but workloads refuse all of its requests.
 * Once Envoy has all certificates, earlier connections must no longer be used.
 */

/** The maximum number of grants to remember. Without a limit, a broker could keep inventing new ones. */
const MOST = 1_000;

export class Principals {
  /** The SPIFFE IDs of all grants that have had a certificate, starting with the oldest. */
  readonly #known = new Map<string, string>();
  /** The grants whose SPIFFE ID has changed and whose certificate Envoy has not received yet. */
  #awaited = new Set<string>();
  #changed = false;
  #begun = false;

  /**
   * Records the certificates that are about to be sent to Envoy.
   * @param svids the certificates, by grant
   * @param isSession whether the certificates belong to a new session. If so, new grants count as changed, except in
   *   the first session
   * @returns the same as `taken`, because a grant that was awaited may have been lost
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
   * Records which secrets Envoy has accepted.
   * @param names the current names of these secrets
   * @returns true once, as soon as Envoy has all certificates that have changed
   */
  taken(names: readonly string[]): boolean {
    for (const name of names) this.#awaited.delete(name);
    if (!this.#changed || this.#awaited.size > 0) return false;
    this.#changed = false;
    return true;
  }
}
