/**
 * Matches of routes as formulas. Every kind of route is translated to Istio's HttpMatch first. Parts that formulas cannot
 * express become opaque flags: equal parts stay equal, and everything else about them is unknown.
 */
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from '../diff/formula/condition.ts';
import { parseRegex } from '../diff/formula/regex.ts';
import { type Piece, passesTest, type TextTest } from '../diff/formula/text-test.ts';

/** Listener of an entry point. */
export interface Listener {
  readonly protocol: 'http' | 'https' | 'tls' | 'tcp' | 'udp';
  /** Undefined if the entry point is not among the files. */
  readonly port: number | undefined;
}

/** Creates a condition that formulas cannot express. */
export function opaque(reason: string): Condition {
  return flag(`opaque:${reason}`);
}

/** Translates the hosts of a route: `*`, `*.example.com` or a name. */
export function hostCondition(host: string): Condition {
  const name = host.toLowerCase();
  if (name === '*') return ALWAYS;
  return text('host', name.startsWith('*') ? { form: 'suffix', text: name.slice(1) } : { form: 'exact', text: name });
}

/** Translates a match as far as a caller from outside determines it. The host is translated separately. */
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

/** Pseudo-headers have fields of their own, and a claim of a verified token is no input of an anonymous caller. */
function headerCondition(name: string, value: StringMatch): Condition {
  const lower = name.toLowerCase();
  if (lower.startsWith('@request.auth')) return NEVER;
  if (lower === ':authority' || lower === 'host') return authorityCondition(value);
  if (lower === ':method') return stringCondition('method', value);
  if (lower.startsWith(':')) return opaque(`the match tests ${name}`);
  return presentCondition(`header:${lower}`, value);
}

/** A missing header counts as an empty one, unless the match only tests whether it is present. */
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

/** Istio translates an empty match, and the regular expression `*`, to a test of presence. */
function isPresenceMatch(match: StringMatch | undefined): boolean {
  const { exact, prefix, regex } = match ?? {};
  return regex === '*' || (exact === undefined && prefix === undefined && regex === undefined);
}

/** The match compares the whole header with its port, and the field `host` has none. */
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

/** Translates a path match that ignores case. Envoy ignores it in regular expressions. */
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

/** Passes for every value that is present, even an empty one. */
const ANY_TEXT: TextTest = { form: 'prefix', text: '' };

/** Translates a string match. Without one, every value passes. */
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

/** Lists the opaque reasons in texts. */
export function opaqueReason(field: string): string | undefined {
  return field.startsWith('opaque:') ? field.slice('opaque:'.length) : undefined;
}
