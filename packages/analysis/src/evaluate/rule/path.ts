/**
 * Normalizes paths in the same way as Envoy does before it evaluates policies, and implements Istio's path templates.
 */
import { type PathNormalization, readTemplate } from '@meshpass/istio';
import { compilePattern } from '../../diff/formula/pattern.ts';

/** Envoy treats `..;x` as `..` before it decodes escape sequences and backslashes. */
const DOTS_WITH_PARAMETERS = /\/(\.{1,2});[^/]*/g;

/** Matches paths that normalization leaves unchanged, except for merging slashes. */
const PLAIN = /^\/[A-Za-z0-9_~!$&'()*+,;=:@/-]*(?:\?[^#]*)?$/;

/**
 * Normalizes a path with its query string, following the mesh configuration (RFC 3986 section 6.2.2.3 and Envoy's
 * `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`).
 * @returns the path, or undefined if Envoy would respond with status 400
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

/** Removes the query string, which policies ignore. */
export function withoutQuery(path: string): string {
  const mark = path.indexOf('?');
  return mark < 0 ? path : path.slice(0, mark);
}

/**
 * The characters that the canonical form escapes, in addition to control characters, spaces and non-ASCII characters.
 */
const ESCAPED = '"<>^`{|}';
/** Matches paths that do not contain any character that has to be escaped. */
const CLEAN = /^[!#-;=?-[\]_a-z~]*$/;
/** Matches escape sequences for characters that do not have to be escaped. */
const NEEDLESS = /%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])/g;

/**
 * Canonicalizes a path in the same way as Chromium's URL library, which follows the WHATWG URL standard but also
 * decodes unnecessary escape sequences.
 */
function canonical(path: string): string {
  const unescaped = path.includes('%')
    ? path.replace(NEEDLESS, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)))
    : path;
  const slashes = unescaped.replaceAll('\\', '/');
  const walked = slashes.includes('/.') ? withoutDots(slashes) : slashes;
  return CLEAN.test(walked) ? walked : [...walked].map(canonicalCharacter).join('');
}

/** Removes `.` and `..` segments (RFC 3986 section 5.2.4). */
function withoutDots(path: string): string {
  // Anything before the first slash is not a path segment.
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
 * Compiles a path template, in which `{*}` matches one segment and `{**}` any number of segments.
 * @returns the test, or undefined if Envoy rejects the template
 * @example
 * ```ts
 * import { templateTest } from '@meshpass/analysis/evaluate';
 * templateTest('/orders/{*}')?.('/orders/1'); // => true
 * templateTest('/orders/{*}')?.('/orders/1/items'); // => false
 * ```
 */
export function templateTest(template: string): ((path: string) => boolean) | undefined {
  const pieces = readTemplate(template);
  if (!pieces) return undefined;
  const whole = compilePattern(pieces);
  return (path) => whole.test(path);
}
