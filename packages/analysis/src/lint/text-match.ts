/**
 * How an Istio string form (`exact`, `prefix*`, `*suffix`, `*`) relates to what a route lets through. Only as exact as the
 * linter needs: `some` is said wherever neither `all` nor `none` is certain.
 */
import type { StringMatch } from '@meshpass/istio';

/** Of what is asked about, the pattern takes everything, nothing, or possibly some. */
export type Share = 'all' | 'some' | 'none';

/** Whether an Istio string form takes a text. */
export function takes(pattern: string, value: string): boolean {
  if (pattern === '*') return value !== '';
  if (pattern.startsWith('*')) return value.endsWith(pattern.slice(1));
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : pattern === value;
}

/**
 * How much of the paths that a route's match lets through a policy's path pattern takes.
 * @param uri undefined: every path
 */
export function shareOfPaths(pattern: string, uri: StringMatch | undefined): Share {
  if (pattern === '*' || pattern === '/*' || pattern === '/{**}') return 'all';
  if (uri?.exact !== undefined) return takesTemplate(pattern, uri.exact);
  const prefix = uri?.prefix;
  if (prefix === undefined || prefix === '/') return 'some';
  const brace = pattern.indexOf('{');
  const literal = brace >= 0 ? pattern.slice(0, brace) : pattern.endsWith('*') ? pattern.slice(0, -1) : pattern;
  if (literal.startsWith('*')) return 'some';
  if (prefix.startsWith(literal) && pattern.endsWith('*') && brace < 0) return 'all';
  return prefix.startsWith(literal) || literal.startsWith(prefix) ? 'some' : 'none';
}

function takesTemplate(pattern: string, path: string): Share {
  if (!pattern.includes('{')) return takes(pattern, path) ? 'all' : 'none';
  return path.startsWith(pattern.slice(0, pattern.indexOf('{'))) ? 'some' : 'none';
}

/** The paths that two matches of routes let through: does `wide` take all that `narrow` takes? Regular expressions only where equal. */
export function coversUri(wide: StringMatch | undefined, narrow: StringMatch | undefined): boolean {
  if (!wide || Object.keys(wide).length === 0) return true;
  if (wide.prefix === '/' || wide.prefix === '' || (wide.regex !== undefined && EVERYTHING.has(wide.regex)))
    return true;
  if (!narrow) return false;
  if (wide.exact !== undefined) return narrow.exact === wide.exact;
  if (wide.prefix !== undefined) {
    const narrower = narrow.prefix ?? narrow.exact;
    return narrower?.startsWith(wide.prefix) ?? false;
  }
  return wide.regex !== undefined && wide.regex === narrow.regex;
}

const EVERYTHING = new Set(['.*', '^.*$', '^.*', '.*$', '/.*', '^/.*', '^/.*$']);
