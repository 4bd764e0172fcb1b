/** Header blocks that a server sends, decoded (RFC 7541). Whatever cannot be decoded ends the connection: its state is lost. */
import { DynamicTable, type Field, STATIC_TABLE } from './hpack-table.ts';
import { decodeHuffman } from './huffman.ts';

/** A field as a line of HTTP/1.1, with its CRLF; '' for a pseudo-field. */
export interface DecodedField extends Field {
  readonly line: string;
}

/** What we tell the server that it may use: the default of SETTINGS_HEADER_TABLE_SIZE. */
const TABLE_BYTES = 4096;

const NAME = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** RFC 9113 section 8.2.2: HTTP/2 has no such fields, and a line of HTTP/1.1 made of one would change the framing. */
const OF_CONNECTIONS = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);
const STATIC_FIELDS = STATIC_TABLE.map(({ name, value }) => ({
  ...{ name, value },
  line: name.startsWith(':') ? '' : `${name}: ${value}\r\n`,
}));

export class HeaderDecoder {
  readonly #table = new DynamicTable<DecodedField>(TABLE_BYTES);
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  /**
   * @param limit most characters of names and values together
   * @throws Error where the block is malformed, decodes to more than the limit, or holds what is no field of HTTP/2
   */
  decode(block: Buffer, limit: number): DecodedField[] {
    this.#block = block;
    this.#at = 0;
    const fields: DecodedField[] = [];
    let size = 0;
    while (this.#at < block.length) {
      const first = block[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        // A change of the table's size stands before the first field (section 4.2).
        const bytes = this.#integer(5);
        if (fields.length > 0 || bytes > TABLE_BYTES) throw new Error('a table size that is not allowed');
        this.#table.resize(bytes);
        continue;
      }
      const field = this.#field(first);
      size += field.name.length + field.value.length;
      if (size > limit) throw new Error('the headers are too long');
      fields.push(field);
    }
    return fields;
  }

  #field(first: number): DecodedField {
    if (first & 0x80) return this.#entry(this.#integer(7));
    const indexed = (first & 0x40) !== 0;
    const index = this.#integer(indexed ? 6 : 4);
    const name = index === 0 ? this.#text() : this.#entry(index).name;
    const field = decodedField(name, this.#text());
    if (indexed) this.#table.add(field);
    return field;
  }

  #entry(index: number): DecodedField {
    const field = index <= STATIC_FIELDS.length ? STATIC_FIELDS[index - 1] : this.#table.at(index);
    if (!field) throw new Error('an index that no table has');
    return field;
  }

  #text(): string {
    const huffman = (this.#block[this.#at]! & 0x80) !== 0;
    const length = this.#integer(7);
    const from = this.#at;
    const to = from + length;
    if (to > this.#block.length) throw new Error('a string that is cut off');
    this.#at = to;
    const text = huffman ? decodeHuffman(this.#block, from, to) : this.#block.toString('latin1', from, to);
    if (text === undefined) throw new Error('a string that is not Huffman coded');
    return text;
  }

  /** Section 5.1; four bytes after the prefix are more than any length or index here. */
  #integer(prefix: number): number {
    const block = this.#block;
    if (this.#at >= block.length) throw new Error('a field that is cut off');
    const most = 2 ** prefix - 1;
    let value = block[this.#at++]! & most;
    if (value < most) return value;
    for (let shift = 0; shift < 28; shift += 7) {
      if (this.#at >= block.length) throw new Error('an integer that is cut off');
      const byte = block[this.#at++]!;
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new Error('an integer that is too large');
  }
}

function decodedField(name: string, value: string): DecodedField {
  if (!NAME.test(name) || !VALUE.test(value) || OF_CONNECTIONS.has(name)) throw new Error('a field that must not be');
  return { name, value, line: name.startsWith(':') ? '' : `${name}: ${value}\r\n` };
}
