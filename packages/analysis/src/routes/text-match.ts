/** Compares the matches of routes with each other and with the string patterns in policies. */
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import { parsePathTest, passesTest, type TextTest } from '../diff/formula/text-test.ts';

/**
 * Returns true if all texts that pass `wanted` also pass the test, false if all of them fail it, and undefined
 * otherwise.
 */
export function impliedTestResult(test: TextTest, wanted: TextTest | undefined): boolean | undefined {
  if (wanted?.form === 'exact') return passesTest(test, wanted.text);
  if (wanted?.form === 'suffix') return test.form === 'exact' && !test.text.endsWith(wanted.text) ? false : undefined;
  if (wanted?.form !== 'prefix') return undefined;
  const head = headOf(test);
  if (test.form === 'prefix' && wanted.text.startsWith(head)) return true;
  if (head.startsWith(wanted.text)) return undefined;
  return test.form === 'exact' || !wanted.text.startsWith(head) ? false : undefined;
}

/** Checks whether the path pattern of a policy could match a path that a route matches. */
export function mayMatch(pattern: string, uri: StringMatch | undefined): boolean {
  const test = parsePathTest(pattern);
  return test !== undefined && impliedTestResult(test, readUri(uri)) !== false;
}

/** Translates a match on the URI. Returns undefined if it could match any path, as a regular expression might. */
function readUri({ exact, prefix = '/' }: StringMatch = {}): TextTest | undefined {
  if (exact !== undefined) return { form: 'exact', text: exact };
  return prefix === '/' || prefix === '' ? undefined : { form: 'prefix', text: prefix };
}

/** Returns the prefix that all texts that pass the test have in common. */
function headOf(test: TextTest): string {
  if (test.form === 'exact' || test.form === 'prefix') return test.text;
  if (test.form !== 'pattern') return '';
  const any = test.pieces.findIndex((piece) => 'any' in piece);
  return test.pieces.slice(0, any).reduce((head, piece) => head + ('text' in piece ? piece.text : ''), '');
}

/** Checks whether `wide` matches every call that `narrow` matches. Only tests of the request itself are compared. */
export function coversMatch(wide: HttpMatch, narrow: HttpMatch): boolean {
  return (
    coversUri(wide.uri, narrow.uri) &&
    (['scheme', 'method', 'authority'] as const).every(
      (part) => wide[part] === undefined || JSON.stringify(wide[part]) === JSON.stringify(narrow[part]),
    ) &&
    (['headers', 'queryParams', 'withoutHeaders'] as const).every((part) => isFieldSubset(wide[part], narrow[part]))
  );
}

/** Checks whether `narrow` has all fields of `wide`, with the same values. */
export function isFieldSubset(wide: unknown, narrow: unknown): boolean {
  const given = record(narrow);
  return Object.entries(record(wide)).every(([name, value]) => JSON.stringify(value) === JSON.stringify(given[name]));
}

/**
 * Checks whether `wide` matches every path that `narrow` matches. Regular expressions are only compared for equality.
 */
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

/**
 * Translates a segment prefix, as used by the Gateway API and Ingress, to Istio matches, whose prefixes are plain text.
 * The segment prefix `/a` matches `/a` and `/a/b`, but not `/ab`. Returns an empty list for `/`, which matches every
 * path.
 */
export function segmentPrefix(prefix: string): readonly StringMatch[] {
  const bare = prefix.replace(/\/+$/, '');
  return bare === '' ? [] : [{ exact: bare }, { prefix: `${bare}/` }];
}
