/**
 * Translates route matches to formulas. Every kind of route is first translated to Istio's HttpMatch. Parts that
 * formulas cannot express become opaque flags. Equal parts remain equal, but their meaning is unknown.
 */
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from '../diff/formula/condition.ts';
import { parseRegex } from '../diff/formula/regex.ts';
import { type Piece, passesTest, type TextTest } from '../diff/formula/text-test.ts';

/** Listener of an entry point. */
export interface Listener {
  readonly protocol: 'http' | 'https' | 'tls' | 'tcp' | 'udp';
  /** Undefined if the entry point is not in the files. */
  readonly port: number | undefined;
}

/** Creates an opaque condition for a test that formulas cannot express. */
export function opaque(reason: string): Condition {
  return flag(`opaque:${reason}`);
}

/** Translates a route's host: `*`, `*.example.com` or a name. */
export function hostCondition(host: string): Condition {
  const name = host.toLowerCase();
  if (name === '*') return ALWAYS;
  return text('host', name.startsWith('*') ? { form: 'suffix', text: name.slice(1) } : { form: 'exact', text: name });
}

/** Translates the parts of a match that an outside caller can influence. The host is translated separately. */
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

/** Translates a header match. Pseudo-headers have their own fields, and anonymous callers have no verified claims. */
function headerCondition(name: string, value: StringMatch): Condition {
  const lower = name.toLowerCase();
  if (lower.startsWith('@request.auth')) return NEVER;
  if (lower === ':authority' || lower === 'host') return authorityCondition(value);
  if (lower === ':method') return stringCondition('method', value);
  if (lower.startsWith(':')) return opaque(`the match tests ${name}`);
  return presentCondition(`header:${lower}`, value);
}

/** Translates `withoutHeaders`. A missing header is treated as empty unless the match only tests for presence. */
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

/** Whether Istio translates a match to a presence test. This applies to empty matches and to the regex `*`. */
function isPresenceMatch(match: StringMatch | undefined): boolean {
  const { exact, prefix, regex } = match ?? {};
  return regex === '*' || (exact === undefined && prefix === undefined && regex === undefined);
}

/** Translates a match of the whole header, including its port. The field `host` does not contain the port. */
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

/** Translates a case-insensitive path match. Envoy ignores `ignoreUriCase` for regular expressions. */
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

/** Matches every value that is present, even if it is empty. */
const ANY_TEXT: TextTest = { form: 'prefix', text: '' };

/** Translates a string match. If it is undefined, every value matches. */
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

/** Returns the reason of an opaque field. Undefined for other fields. */
export function opaqueReason(field: string): string | undefined {
  return field.startsWith('opaque:') ? field.slice('opaque:'.length) : undefined;
}
