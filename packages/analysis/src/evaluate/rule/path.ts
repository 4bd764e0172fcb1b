/** Paths: Envoy's normalization before policies apply, and Istio's path templates. */
import { type PathNormalization, readTemplate } from '@meshpass/istio';
import { compilePattern } from '../../diff/formula/pattern.ts';
import type { TextTest } from './text.ts';

/** Envoy reads `..;x` as `..`, before it decodes escapes and backslashes. */
const DOTS_WITH_PARAMETERS = /\/(\.{1,2});[^/]*/g;

/** Path that normalization does not change, other than by merging slashes. */
const PLAIN = /^\/[A-Za-z0-9_~!$&'()*+,;=:@/-]*(?:\?[^#]*)?$/;

/**
 * Normalizes the path with its query by the mesh's configuration (RFC 3986 section 6.2.2.3 and Envoy's
 * `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`).
 * @returns undefined if Envoy responds with 400
 * @example
 * ```ts
 * import { normalizePath } from '@meshpass/analysis/evaluate';
 * normalizePath('/a/../orders//1', 'BASE'); // => '/orders//1'
 * normalizePath('/a/../orders//1', 'MERGE_SLASHES'); // => '/orders/1'
 * ```
 */
export function normalizePath(path: string, how: PathNormalization): string | undefined {
  if (PLAIN.test(path) && (how === 'BASE' || how === 'NONE' || !path.includes('//'))) return path;
  if (path.includes('#')) return undefined;
  if (how === 'NONE') return path;
  const mark = path.indexOf('?');
  const query = mark < 0 ? '' : path.slice(mark);
  let bare = mark < 0 ? path : path.slice(0, mark);
  if (how === 'DECODE_AND_MERGE_SLASHES') bare = bare.replace(/%2f/gi, '/').replace(/%5c/gi, '\\');
  if (bare.includes('%00')) return undefined;
  bare = canonical(bare.replace(DOTS_WITH_PARAMETERS, '/$1'));
  if (how !== 'BASE') bare = bare.replace(/\/{2,}/g, '/');
  return bare + query;
}

/** Removes the query, which policies ignore. */
export function withoutQuery(path: string): string {
  const mark = path.indexOf('?');
  return mark < 0 ? path : path.slice(0, mark);
}

/** Characters that the canonical form escapes, in addition to controls, space and non-ASCII characters. */
const ESCAPED = '"<>^`{|}';
/** Matches a path without these characters. */
const CLEAN = /^[!#-;=?-[\]_a-z~]*$/;
/** Escapes of characters that do not need escaping. */
const NEEDLESS = /%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])/g;

/**
 * Canonicalizes a path like Chromium's URL library, which follows the WHATWG URL standard but also decodes unnecessary
 * escapes.
 */
function canonical(path: string): string {
  const unescaped = path.includes('%')
    ? path.replace(NEEDLESS, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)))
    : path;
  const slashes = unescaped.replaceAll('\\', '/');
  const walked = slashes.includes('/.') ? withoutDots(slashes) : slashes;
  return CLEAN.test(walked) ? walked : [...walked].map(canonicalCharacter).join('');
}

/** Removes `.` and `..` (RFC 3986 section 5.2.4). */
function withoutDots(path: string): string {
  // Text before the first slash is not a path segment.
  const [head, ...given] = path.split('/');
  const steps: string[] = [];
  for (const [index, step] of given.entries()) {
    const last = index === given.length - 1;
    if (step === '..') steps.pop();
    if (step !== '.' && step !== '..') steps.push(step);
    else if (last) steps.push('');
  }
  return `${head}/${steps.join('/')}`;
}

function canonicalCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  if (code > 0x20 && code < 0x7f && !ESCAPED.includes(character)) return character;
  return [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
}

/**
 * Compiles a path with `{*}` (one segment) and `{**}` (any number of them).
 * @returns undefined if Envoy rejects the template
 * @example
 * ```ts
 * import { templateTest } from '@meshpass/analysis/evaluate';
 * templateTest('/orders/{*}')?.('/orders/1'); // => true
 * templateTest('/orders/{*}')?.('/orders/1/items'); // => false
 * ```
 */
export function templateTest(template: string): TextTest | undefined {
  const pieces = readTemplate(template);
  if (!pieces) return undefined;
  const whole = compilePattern(pieces);
  return (path) => whole.test(path);
}
