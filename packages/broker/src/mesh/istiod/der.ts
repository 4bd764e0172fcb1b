/** A strict DER parser. It rejects any encoding that different parsers could interpret in different ways. */

export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** The complete element, consisting of tag, length and content. */
  readonly bytes: Buffer;
}

/** The maximum nesting depth. A certificate request only needs eight levels. */
const DEEPEST = 16;
const CONSTRUCTED = 0x20;
/**
 * Indicates that the tag number does not fit into five bits and follows in separate bytes. Certificate requests never
 * contain such tags.
 */
const LONG_TAG = 0x1f;

/**
 * Splits bytes into consecutive DER elements. All lengths, including those of nested elements, must be definite and
 * minimal (X.690 section 10.1). Elements must not be nested more than 16 levels deep.
 * @returns the elements, or undefined if the bytes violate any of these rules
 */
export function parseDerElements(bytes: Buffer, depth = 0): readonly DerElement[] | undefined {
  if (depth > DEEPEST) return undefined;
  const found: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at]!;
    const header = (tag & LONG_TAG) === LONG_TAG ? undefined : readLength(bytes, at + 1);
    if (!header || header.start + header.length > bytes.length) return undefined;
    const content = bytes.subarray(header.start, header.start + header.length);
    if ((tag & CONSTRUCTED) !== 0 && !parseDerElements(content, depth + 1)) return undefined;
    const end = header.start + header.length;
    found.push({ tag, content, bytes: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

function readLength(bytes: Buffer, at: number): { readonly start: number; readonly length: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  if (first < 0x80) return { start: at + 1, length: first };
  const count = first & 0x7f;
  if (count === 0 || count > 3 || at + 1 + count > bytes.length) return undefined;
  const length = bytes.readUIntBE(at + 1, count);
  const shortest = length < 0x80 ? 0 : Math.ceil((32 - Math.clz32(length)) / 8);
  return count === shortest ? { start: at + 1 + count, length } : undefined;
}
