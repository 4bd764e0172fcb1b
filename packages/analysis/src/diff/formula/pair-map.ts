/**
 * A map from pairs of integers to integers. It uses open addressing in typed arrays to avoid allocating an object for
 * each entry.
 */
export class PairMap {
  #size = 0;
  #mask = 1023;
  /** Each entry consists of three numbers: the pair and its value. An entry is free if its first number is -1. */
  #entries = new Int32Array(1024 * 3).fill(-1);

  get(a: number, b: number): number | undefined {
    const at = this.#find(a, b);
    return this.#entries[at] === -1 ? undefined : this.#entries[at + 2];
  }

  set(a: number, b: number, value: number): void {
    const at = this.#find(a, b);
    if (this.#entries[at] === -1 && ++this.#size * 2 > this.#mask) {
      this.#grow();
      this.#put(this.#find(a, b), a, b, value);
    } else this.#put(at, a, b, value);
  }

  #put(at: number, a: number, b: number, value: number): void {
    this.#entries[at] = a;
    this.#entries[at + 1] = b;
    this.#entries[at + 2] = value;
  }

  /** Returns the index of the pair's entry, or of the free entry where the pair should be inserted. */
  #find(a: number, b: number): number {
    let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    let place = (hash ^ (hash >>> 13)) & this.#mask;
    for (;;) {
      const at = place * 3;
      const first = this.#entries[at];
      if (first === -1 || (first === a && this.#entries[at + 1] === b)) return at;
      place = (place + 1) & this.#mask;
    }
  }

  #grow(): void {
    const before = this.#entries;
    this.#mask = this.#mask * 2 + 1;
    this.#entries = new Int32Array((this.#mask + 1) * 3).fill(-1);
    for (let at = 0; at < before.length; at += 3) {
      const a = before[at]!;
      if (a !== -1) this.#put(this.#find(a, before[at + 1]!), a, before[at + 1]!, before[at + 2]!);
    }
  }
}
