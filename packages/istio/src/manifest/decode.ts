/** Decodes manifests the way kubectl does: as UTF-8, or as UTF-16 if they start with a byte order mark. */
import { isUtf8 } from 'node:buffer';

/**
 * Decodes bytes and removes the byte order mark. Returns undefined if the bytes are invalid in their encoding. Source:
 * kubectl decodes files with `unicode.BOMOverride` (cli-runtime, pkg/resource/visitor.go).
 * @example
 * ```ts
 * import { decodeText } from '@meshpass/istio';
 * decodeText(Buffer.from('kind: Pod')); // => 'kind: Pod'
 * decodeText(Uint8Array.of(0xff)); // => undefined
 * ```
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  const [first, second] = bytes;
  const wide = first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : '';
  if (wide === '') return isUtf8(bytes) ? new TextDecoder().decode(bytes) : undefined;
  try {
    return new TextDecoder(wide, { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Returns the number of the first line that is not valid UTF-8, starting at 1. Lines can be checked separately, because
 * a multi-byte UTF-8 sequence never contains a line feed byte.
 */
export function firstInvalidUtf8Line(bytes: Uint8Array): number {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const feed = bytes.indexOf(0x0a, start);
    const end = feed < 0 ? bytes.length : feed + 1;
    if (!isUtf8(bytes.subarray(start, end))) return line;
    start = end;
  }
  return line;
}
