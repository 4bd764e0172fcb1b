/** Bytes of a manifest to text, as kubectl reads them: UTF-8, or UTF-16 where a byte order mark says so. */
import { isUtf8 } from 'node:buffer';

/**
 * Text without its byte order mark; undefined where the bytes are not what they claim to be.
 * Source: kubectl decodes files with `unicode.BOMOverride` (cli-runtime, pkg/resource/visitor.go).
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

/** The first line that is not UTF-8, from 1. No byte of a longer UTF-8 sequence is a line feed, so lines can be looked at one by one. */
export function firstBadLine(bytes: Uint8Array): number {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const feed = bytes.indexOf(0x0a, start);
    const end = feed < 0 ? bytes.length : feed + 1;
    if (!isUtf8(bytes.subarray(start, end))) return line;
    start = end;
  }
  return line;
}
