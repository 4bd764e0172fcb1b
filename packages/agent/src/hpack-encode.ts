/**
 * Header blocks of requests, encoded (RFC 7541), for a client that sends nearly the same headers again and again: fields
 * that come back are sent once and then as an index, and the bytes for a list of fields are kept until the table changes.
 * Strings are not Huffman coded: what is sent once need not be short.
 */
import { DynamicTable, type Field, STATIC_TABLE } from './hpack-table.ts';

export interface EncodedField extends Field {
  /** Never to be put into a table, here or further on (section 7.1.3): a secret that is short enough to be guessed. */
  readonly sensitive?: boolean;
}

interface Entry extends Field {
  readonly key: string;
  number: number;
}

/** Largest share of the table that one field may take. An identity token is about a kilobyte. */
const LARGEST = 2048;
/** Fields that were seen once, and lists of fields that are kept encoded. */
const MAX_REMEMBERED = 128;

const STATIC_FIELDS = new Map(STATIC_TABLE.map((field, index) => [keyOf(field), index + 1]));
const STATIC_NAMES = new Map(STATIC_TABLE.map(({ name }, index) => [name, index + 1] as const).reverse());

export class HeaderEncoder {
  readonly #entries = new Map<string, Entry>();
  readonly #table: DynamicTable<Entry>;
  readonly #seen = new Set<string>();
  readonly #kept = new Map<string, Buffer>();
  #limit: number;
  #announce = false;
  #steady = true;

  /** @param limit bytes that the server's decoder keeps: 4096 unless its SETTINGS say less */
  constructor(limit = 4096) {
    this.#limit = limit;
    this.#table = new DynamicTable(limit, ({ key }) => {
      this.#entries.delete(key);
      this.#kept.clear();
    });
  }

  /** The server's SETTINGS_HEADER_TABLE_SIZE; more than we began with is not used. */
  limitTable(bytes: number): void {
    if (bytes >= this.#limit) return;
    this.#limit = bytes;
    this.#table.resize(bytes);
    this.#kept.clear();
    this.#announce = true;
  }

  /**
   * @param before pseudo-fields that change with every request, as literals that no table gets
   * @param key what tells the list of fields from every other one
   * @param fields asked for only where the bytes for this key are not known
   */
  encode(before: readonly Field[], key: string, fields: () => readonly EncodedField[]): Buffer {
    const parts: Buffer[] = [];
    if (this.#announce) parts.push(integer(this.#limit, 5, 0x20));
    this.#announce = false;
    for (const field of before) parts.push(literal(field, 4, 0x00));
    const kept = this.#kept.get(key);
    if (kept) {
      parts.push(kept);
      return Buffer.concat(parts);
    }
    this.#steady = true;
    const bytes = Buffer.concat(fields().map((field) => this.#field(field)));
    // Only what changed nothing says the same the next time.
    if (this.#steady) {
      if (this.#kept.size >= MAX_REMEMBERED) this.#kept.clear();
      this.#kept.set(key, bytes);
    }
    parts.push(bytes);
    return Buffer.concat(parts);
  }

  #field(field: EncodedField): Buffer {
    if (field.sensitive) return literal(field, 4, 0x10);
    const key = keyOf(field);
    const known = STATIC_FIELDS.get(key);
    if (known !== undefined) return integer(known, 7, 0x80);
    const entry = this.#entries.get(key);
    if (entry) return integer(STATIC_TABLE.length + 1 + this.#table.added - entry.number, 7, 0x80);
    if (key.length > Math.min(LARGEST, this.#limit / 2) || this.#firstTime(key)) return literal(field, 4, 0x00);
    const added = { ...field, key, number: 0 };
    this.#kept.clear(); // every index is another one now
    this.#steady = false;
    if (this.#table.add(added)) {
      added.number = this.#table.added;
      this.#entries.set(key, added);
    }
    return literal(field, 6, 0x40);
  }

  /** What comes once (a request id, a length) would only push out of the table what comes again. */
  #firstTime(key: string): boolean {
    if (this.#seen.delete(key)) return false;
    this.#steady = false;
    if (this.#seen.size >= MAX_REMEMBERED) this.#seen.delete(this.#seen.values().next().value!);
    this.#seen.add(key);
    return true;
  }
}

function keyOf({ name, value }: Field): string {
  return `${name}\n${value}`;
}

function literal({ name, value }: Field, prefix: number, pattern: number): Buffer {
  const known = STATIC_NAMES.get(name);
  const head = known === undefined ? [Buffer.of(pattern), text(name)] : [integer(known, prefix, pattern)];
  return Buffer.concat([...head, text(value)]);
}

function text(value: string): Buffer {
  return Buffer.concat([integer(value.length, 7, 0x00), Buffer.from(value, 'latin1')]);
}

/** Section 5.1. */
function integer(value: number, prefix: number, pattern: number): Buffer {
  const most = 2 ** prefix - 1;
  if (value < most) return Buffer.of(pattern | value);
  const bytes = [pattern | most];
  let rest = value - most;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}
