/**
 * Matches of routes as formulas. Every kind of route is translated to Istio's HttpMatch first. Parts that formulas cannot
 * express become opaque flags: equal parts stay equal, and everything else about them is unknown.
 */
import type { HttpMatch, StringMatch } from '@meshpass/istio';
import { record, texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, flag, NEVER, not, type TextField, text } from '../diff/formula/condition.ts';
import { readRegex } from '../diff/formula/regex.ts';
import type { TextTest } from '../diff/formula/text-test.ts';

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
    match.ignoreUriCase && uri
      ? opaque(`the path is ${JSON.stringify(uri)}, whatever its case`)
      : stringCondition('path', uri),
    stringCondition('method', method),
    stringCondition('host', authority),
    scheme === undefined || scheme.exact === protocol
      ? ALWAYS
      : scheme.exact === undefined
        ? opaque('the match tests the scheme')
        : NEVER,
    match.port === undefined || port === undefined || match.port === port ? ALWAYS : NEVER,
    ...Object.entries(record<StringMatch>(headers)).map(([name, value]) => headerCondition(name, value)),
    ...Object.entries(record<StringMatch>(withoutHeaders)).map(([name, value]) => not(headerCondition(name, value))),
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
  if (lower === ':authority' || lower === 'host') return stringCondition('host', value);
  if (lower === ':method') return stringCondition('method', value);
  if (lower.startsWith(':')) return opaque(`the match tests ${name}`);
  return presentCondition(`header:${lower}`, value);
}

function presentCondition(field: TextField, value: StringMatch): Condition {
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
  const tests = readRegex(regex);
  if (!tests) return opaque(`${field} matches ~${regex}`);
  return any(tests.map((test) => (isEveryPath(field, test) ? ALWAYS : text(field, test))));
}

function isEveryPath(field: TextField, test: TextTest): boolean {
  if (test.form !== 'prefix') return false;
  return test.text === '' ? field === 'path' : field === 'path' && test.text === '/';
}

/** Lists the opaque reasons in texts. */
export function reasonOf(field: string): string | undefined {
  return field.startsWith('opaque:') ? field.slice('opaque:'.length) : undefined;
}

/** Whether a match only applies to some gateways, among which is `name`. */
export function isForGateway(match: HttpMatch, isName: (written: string) => boolean): boolean {
  const only = texts(match.gateways);
  return only.length === 0 || only.some(isName);
}
