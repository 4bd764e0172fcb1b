/** The tables of HPACK (RFC 7541 section 2.3): the static one, and a dynamic one that both sides of a connection keep. */

export interface Field {
  readonly name: string;
  readonly value: string;
}

/** Bytes that an entry counts beyond its name and value (section 4.1). */
const OVERHEAD = 32;

const NAMES_WITH_VALUES =
  ':authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|:status 206|' +
  ':status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|accept-language|accept-ranges|' +
  'accept|access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding|' +
  'content-language|content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|' +
  'if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|' +
  'proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|strict-transport-security|' +
  'transfer-encoding|user-agent|vary|via|www-authenticate';

/** Appendix A; entry 1 is the first. */
export const STATIC_TABLE: readonly Field[] = NAMES_WITH_VALUES.split('|').map((entry) => {
  const space = entry.indexOf(' ');
  return space < 0 ? { name: entry, value: '' } : { name: entry.slice(0, space), value: entry.slice(space + 1) };
});

/** Entries by age. The newest has index 62. */
export class DynamicTable<T extends Field> {
  #entries: T[] = []; // the oldest first
  #size = 0;
  #limit: number;
  /** Entries that have been added since the beginning: the newest is number `added`. */
  added = 0;
  readonly #evicted: (entry: T) => void;

  /**
   * @param limit bytes, counted as section 4.1 says
   * @param evicted called with each entry that leaves
   */
  constructor(limit: number, evicted: (entry: T) => void = () => {}) {
    this.#limit = limit;
    this.#evicted = evicted;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** @param index 62 and up */
  at(index: number): T | undefined {
    return this.#entries[this.#entries.length - 1 - (index - STATIC_TABLE.length - 1)];
  }

  /** An entry that is larger than the table empties it (section 4.4). @returns whether it is in now */
  add(entry: T): boolean {
    const size = entry.name.length + entry.value.length + OVERHEAD;
    this.#shrinkTo(this.#limit - size);
    if (size > this.#limit) return false;
    this.#entries.push(entry);
    this.#size += size;
    this.added += 1;
    return true;
  }

  resize(limit: number): void {
    this.#limit = limit;
    this.#shrinkTo(limit);
  }

  #shrinkTo(size: number): void {
    while (this.#size > size && this.#entries.length > 0) {
      const entry = this.#entries.shift()!;
      this.#size -= entry.name.length + entry.value.length + OVERHEAD;
      this.#evicted(entry);
    }
  }
}
