/**
 * Translates the matches of routes to formulas. Every kind of route is first converted to Istio's HttpMatch. Anything
 * that formulas cannot express becomes an opaque flag.
 */
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import {
  ALWAYS,
  all,
  any,
  type Condition,
  flag,
  NEVER,
  not,
  opaque,
  type TextField,
  text,
} from '../diff/formula/condition.ts';
import { parseRegex } from '../diff/formula/regex.ts';
import { type Piece, passesTest, type TextTest } from '../diff/formula/text-test.ts';

/** A listener of an entry point. */
export interface Listener {
  readonly protocol: 'http' | 'https' | 'tls' | 'tcp' | 'udp';
  /** The port number. Undefined if the entry point is not in the files. */
  readonly port: number | undefined;
}

/** Translates the host of a route to a condition. The host is `*`, a wildcard such as `*.example.com`, or a name. */
export function hostCondition(host: string): Condition {
  const name = host.toLowerCase();
  if (name === '*') return ALWAYS;
  return text('host', name.startsWith('*') ? { form: 'suffix', text: name.slice(1) } : { form: 'exact', text: name });
}

/** Translates those parts of a match that a caller from outside can influence. The host is translated separately. */
export function matchCondition(match: HttpMatch, { protocol, port }: Listener): Condition {
  const { uri, method, authority, scheme, queryParams, headers, withoutHeaders, sourceLabels, sourceNamespace } = match;
  return all([
    match.ignoreUriCase ? withoutCase(uri) : stringCondition('path', uri),
    stringCondition('method', method),
    authorityCondition(authority),
    scheme === undefined || scheme.exact === protocol
      ? ALWAYS
      : scheme.exact === undefined
        ? opaque('the match tests the scheme')
        : NEVER,
    match.port === undefined || port === undefined || match.port === port ? ALWAYS : NEVER,
    ...Object.entries(record<StringMatch>(headers)).map(([name, value]) => headerCondition(name, value)),
    ...Object.entries(record<StringMatch>(withoutHeaders)).map(([name, value]) => withoutCondition(name, value)),
    ...Object.entries(record<StringMatch>(queryParams)).map(([name, value]) =>
      presentCondition(`query:${name}`, value),
    ),
    sourceLabels === undefined && sourceNamespace === undefined
      ? ALWAYS
      : opaque(`the match tests the gateway: ${JSON.stringify({ sourceLabels, sourceNamespace })}`),
  ]);
}

/**
 * Translates a match on a header. Pseudo-headers have fields of their own, and anonymous callers have no verified
 * claims.
 */
function headerCondition(name: string, value: StringMatch): Condition {
  const lower = name.toLowerCase();
  if (lower.startsWith('@request.auth')) return NEVER;
  if (lower === ':authority' || lower === 'host') return authorityCondition(value);
  if (lower === ':method') return stringCondition('method', value);
  if (lower.startsWith(':')) return opaque(`the match tests ${name}`);
  return presentCondition(`header:${lower}`, value);
}

/**
 * Translates `withoutHeaders`. A missing header is treated as empty, unless the match only tests whether it is present.
 */
function withoutCondition(name: string, value: StringMatch): Condition {
  const condition = headerCondition(name, value);
  const field: TextField = `header:${name.toLowerCase()}`;
  const present = text(field, ANY_TEXT);
  const isPresence = isPresenceMatch(value);
  if (isPresence || name.startsWith(':') || name.startsWith('@') || name.toLowerCase() === 'host')
    return not(condition);
  const { exact, prefix, regex } = value;
  const tests: readonly TextTest[] | undefined =
    exact !== undefined
      ? [{ form: 'exact', text: exact }]
      : prefix !== undefined
        ? [{ form: 'prefix', text: prefix }]
        : parseRegex(regex ?? '');
  if (!tests) return all([not(condition), any([present, opaque(`an empty ${name} matches ~${regex}`)])]);
  return tests.some((test) => passesTest(test, '')) ? all([present, not(condition)]) : not(condition);
}

/**
 * Checks whether Istio translates a match to a presence test, which is the case for empty matches and the regex `*`.
 */
function isPresenceMatch(match: StringMatch | undefined): boolean {
  const { exact, prefix, regex } = match ?? {};
  return regex === '*' || (exact === undefined && prefix === undefined && regex === undefined);
}

/** Translates a match on the entire Host header, which includes the port. The `host` field of a formula excludes it. */
function authorityCondition(match: StringMatch | undefined): Condition {
  const { exact } = match ?? {};
  if (exact === undefined)
    return match === undefined
      ? ALWAYS
      : any([
          all([stringCondition('host', match), not(PORT)]),
          all([PORT, opaque(`the Host header with its port matches ${JSON.stringify(match)}`)]),
        ]);
  const [name = '', port] = exact.split(':');
  const host = text('host', { form: 'exact', text: name });
  return port === undefined ? all([host, not(PORT)]) : all([host, PORT, opaque(`the Host header has port ${port}`)]);
}

const PORT: Condition = flag('host.port');

/** Translates a case-insensitive match on the path. Envoy ignores `ignoreUriCase` for regular expressions. */
function withoutCase(uri: StringMatch | undefined): Condition {
  const { exact, prefix } = uri ?? {};
  const written = exact ?? prefix;
  if (written === undefined || written === '/') return stringCondition('path', uri);
  const letters = Array.from(written, (letter): Piece => {
    const [lower, upper] = [letter.toLowerCase(), letter.toUpperCase()];
    return lower === upper ? { text: letter } : { class: `[${lower}${upper}]`, many: false };
  });
  return text('path', { form: 'pattern', pieces: exact === undefined ? [...letters, { any: 'text' }] : letters });
}

function presentCondition(field: TextField, value: StringMatch): Condition {
  if (isPresenceMatch(value)) return text(field, ANY_TEXT);
  const condition = stringCondition(field, value);
  return condition === ALWAYS ? text(field, ANY_TEXT) : condition;
}

/** Matches any value that is present, even an empty one. */
const ANY_TEXT: TextTest = { form: 'prefix', text: '' };

/** Translates a string match. An undefined match accepts every value. */
function stringCondition(field: TextField, match: StringMatch | undefined): Condition {
  const { exact, prefix, regex } = match ?? {};
  if (exact !== undefined) return text(field, { form: 'exact', text: exact });
  if (prefix !== undefined)
    return prefix === '' || (field === 'path' && prefix === '/')
      ? ALWAYS
      : text(field, { form: 'prefix', text: prefix });
  if (regex === undefined) return ALWAYS;
  const tests = parseRegex(regex);
  if (!tests) return opaque(`${field} matches ~${regex}`);
  return any(tests.map((test) => (isEveryPath(field, test) ? ALWAYS : text(field, test))));
}

function isEveryPath(field: TextField, test: TextTest): boolean {
  if (test.form !== 'prefix') return false;
  return test.text === '' ? field === 'path' : field === 'path' && test.text === '/';
}
