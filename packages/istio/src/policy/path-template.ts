/**
 * Path templates in AuthorizationPolicies. `{*}` matches one segment, and `{**}` matches any number of segments. Envoy
 * rejects some templates that Istio's validation accepts. Source: Envoy's `uri_template_matcher`
 * (source/extensions/path/uri_template_lib).
 */

/** A part of a template: literal text, a single non-empty segment, or the rest of the path. */
export type TemplatePiece = { readonly text: string } | { readonly any: 'segment' | 'rest' };

/** The characters allowed in a segment, as a regular expression class (RFC 3986 pchar, and `*`). */
export const SEGMENT_CHARACTERS = "a-zA-Z0-9\\-._~%!$&'()+,;:@=*";

/**
 * Whether a policy's path is a template and not an exact path, a prefix or a suffix.
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
 * Splits a template into its parts. A plain `*` at the start of a segment is equivalent to `{*}`.
 * @returns the parts, or undefined if Envoy rejects the template, so that no path matches it
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
  if (text === '/') return [{ text: '/' }];
  const segments = text.slice(1).split('/').map(readSegment);
  const last = segments.length - 1;
  const rest = segments.findIndex(({ operator }) => operator === '**');
  const isValid = ({ operator, literal }: Segment, index: number) => {
    if (operator === '' && literal === '') return index === last && index > 0;
    if (literal.includes('*') || !LITERAL.test(literal)) return false;
    // Text after an operator in the same segment is a suffix. It is only allowed at the end of the template.
    return operator === '' || ((literal === '' || index === last) && (rest < 0 || index <= rest));
  };
  return segments.every(isValid) ? segments.flatMap(piecesOf) : undefined;
}

interface Segment {
  readonly operator: '' | '*' | '**';
  readonly literal: string;
}

function readSegment(segment: string): Segment {
  const operator = segment.startsWith('**') ? '**' : segment.startsWith('*') ? '*' : '';
  return { operator, literal: segment.slice(operator.length) };
}

function piecesOf({ operator, literal }: Segment): readonly TemplatePiece[] {
  return [
    { text: '/' },
    ...(operator === '' ? [] : [{ any: operator === '*' ? ('segment' as const) : ('rest' as const) }]),
    ...(literal === '' ? [] : [{ text: literal }]),
  ];
}

const LITERAL = new RegExp(`^[${SEGMENT_CHARACTERS}]*$`);
