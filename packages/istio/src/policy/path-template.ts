/**
 * Path templates of AuthorizationPolicies: `{*}` for one segment, `{**}` for any number of them. What Envoy takes for one is narrower than
 * what Istio's validation lets through. Source: Envoy's `uri_template_matcher` (source/extensions/path/uri_template_lib).
 */

/** A piece of a template: text as it stands, one segment that is not empty, or any rest. */
export type TemplatePiece = { readonly text: string } | { readonly any: 'segment' | 'rest' };

/** Characters of a segment, as a class of a regular expression (RFC 3986 pchar, and `*`). */
export const SEGMENT_CHARACTERS = "a-zA-Z0-9\\-._~%!$&'()+,;:@=*";

/**
 * Whether a path of a policy is a template rather than an exact path, a prefix or a suffix.
 * @example
 * ```ts
 * import { isTemplate } from '@meshpass/istio';
 * isTemplate('/orders/{*}'); // => true
 * isTemplate('/orders/*'); // => false
 * ```
 */
export function isTemplate(path: string): boolean {
  return path.includes('{*}') || path.includes('{**}');
}

/**
 * A template by its pieces; in one, a bare `*` at the beginning of a segment means the same as `{*}`.
 * @returns undefined where Envoy takes no such template: nothing matches it
 * @example
 * ```ts
 * import { readTemplate } from '@meshpass/istio';
 * readTemplate('/orders/{*}'); // => [{ text: '/' }, { text: 'orders' }, { text: '/' }, { any: 'segment' }]
 * readTemplate('/a{*}b/c'); // => undefined
 * ```
 */
export function readTemplate(template: string): readonly TemplatePiece[] | undefined {
  const text = template.replaceAll('{*}', '*').replaceAll('{**}', '**');
  if (!/^\/[\x21-\x7e]*$/.test(text)) return undefined;
  const segments = text.slice(1).split('/');
  const pieces: TemplatePiece[] = [];
  let seenRest = false;
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    const operator = /^\*\*?/.exec(segment)?.[0];
    const literal = segment.slice(operator?.length ?? 0);
    if (segment === '' && !(last && index > 0) && text !== '/') return undefined;
    if (literal.includes('*') || !LITERAL.test(literal)) return undefined;
    // What follows an operator in its segment is a suffix, which ends the template.
    if (operator && literal !== '' && !last) return undefined;
    if (operator && seenRest) return undefined;
    seenRest ||= operator === '**';
    pieces.push({ text: '/' });
    if (operator) pieces.push({ any: operator === '*' ? 'segment' : 'rest' });
    if (literal !== '') pieces.push({ text: literal });
  }
  return pieces;
}

const LITERAL = new RegExp(`^[${SEGMENT_CHARACTERS}]*$`);
