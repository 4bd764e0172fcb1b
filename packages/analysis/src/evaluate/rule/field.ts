/** Compiles the fields of rules to tests of single calls. Every test passes if at least one of the values matches. */
import { expandTrustDomain, isTemplate, withAliases, type ZtunnelTest } from '@meshpass/istio';
import { parseAddress, parseCidr } from '../../address.ts';
import { escapeRegExp } from '../../diff/formula/pattern.ts';
import { parseTextTest, passesTest, textsOf } from '../../diff/formula/text-test.ts';
import { splitRequestPrincipal } from '../../diff/token-condition.ts';
import type { RuleTest } from '../../envoy-rule.ts';
import type { CallFacts, Test } from '../facts.ts';
import { templateTest } from './path.ts';

type TextMatcher = (text: string) => boolean;

/**
 * Compiles values of a field the way Envoy compares them.
 * @param home the policy's own namespace, used for ServiceAccounts whose names do not include one
 * @param trustDomains the mesh's own trust domain, followed by its aliases
 */
export function compileField(
  { field, path }: Pick<RuleTest, 'field' | 'path'>,
  values: readonly string[],
  home: string,
  trustDomains: readonly string[],
): Test {
  switch (field) {
    case 'source.principal':
      return peerTest([principalTest(values, trustDomains)]);
    case 'source.namespace':
      return peerTest(values.map(namespaceTest));
    case 'source.serviceAccount':
      return peerTest(values.map((value) => serviceAccountTest(value, home)));
    case 'source.trustDomain':
      return peerTest([trustDomainTest(values, trustDomains)]);
    case 'source.ip':
      return addressTest(values, ({ sourceIp }) => sourceIp);
    case 'remote.ip':
      return addressTest(values, ({ remoteIp }) => remoteIp);
    case 'destination.ip':
      return addressTest(values, ({ destinationIp }) => destinationIp);
    case 'destination.port': {
      const ports = new Set(values.map(Number));
      return ({ port }) => ports.has(port);
    }
    case 'connection.sni': {
      const test = textTest(values);
      return ({ sni }) => test(sni);
    }
    case 'host': {
      const test = textTest(values, { ignoreCase: true, star: 'present' });
      return ({ authority }) => test(authority);
    }
    case 'method': {
      const test = textTest(values, { star: 'present' });
      return ({ method }) => test(method);
    }
    case 'path':
      return pathTest(values);
    case 'request.headers':
      return headerTest(path[0]!, values);
    case 'request.auth.principal':
      return requestPrincipalTest(values);
    case 'request.auth.claims':
      return claimTest(path, values);
    case 'metadata':
      return metadataTest(path, values);
  }
}

/** Compiles values of a field the way a ztunnel compares them. */
export function compileZtunnelField(field: ZtunnelTest['field'], values: readonly string[], home: string): Test {
  switch (field) {
    case 'source.namespace': {
      const test = textTest(values);
      return ({ principal }) => test(idOf(principal).namespace);
    }
    case 'source.serviceAccount': {
      const accounts = new Set(values.map((value) => (value.includes('/') ? value : `${home}/${value}`)));
      return ({ principal }) => {
        const { namespace, account } = idOf(principal);
        return accounts.has(`${namespace}/${account}`);
      };
    }
    default:
      // Principals are compared as written, without the aliases of the trust domain.
      return compileField({ field, path: [] }, values, home, []);
  }
}

function idOf(principal: string): { readonly namespace: string; readonly account: string } {
  const [, , namespace = '', , account = ''] = principal.split('/');
  return { namespace, account };
}

/** Creates a test that passes if the peer is authenticated and its ID passes at least one of the given tests. */
function peerTest(tests: readonly TextMatcher[]): Test {
  if (tests.length === 1) {
    const [only] = tests;
    return ({ principal }) => principal !== '' && only!(principal);
  }
  return ({ principal }) => principal !== '' && tests.some((test) => test(principal));
}

/**
 * Tests an address against addresses and CIDR ranges.
 * @param of returns the address to test, given the facts about a call
 */
function addressTest(values: readonly string[], of: (facts: CallFacts) => string | undefined): Test {
  const ranges = values.map((value) => parseCidr(value)!);
  return (facts) => {
    const address = of(facts);
    const number = address === undefined ? undefined : parsedAddress(address);
    return number !== undefined && ranges.some(({ first, last }) => first <= number && number <= last);
  };
}

const REMEMBERED = 256;
const parsed = new Map<string, bigint | undefined>();

/** Parses an address, and caches the result because calls come from only a few different addresses. */
function parsedAddress(text: string): bigint | undefined {
  const known = parsed.get(text);
  if (known !== undefined || parsed.has(text)) return known;
  if (parsed.size >= REMEMBERED) parsed.clear();
  const address = parseAddress(text);
  parsed.set(text, address);
  return address;
}

function pathTest(values: readonly string[]): Test {
  const plain = textTest(values.filter((value) => !isTemplate(value)));
  const templates = values.filter(isTemplate).flatMap((value) => templateTest(value) ?? []);
  if (templates.length === 0) return ({ path }) => plain(path);
  return ({ path }) => plain(path) || templates.some((test) => test(path));
}

function headerTest(name: string, values: readonly string[]): Test {
  const test = textTest(values, { star: 'present' });
  return (facts) => {
    const value = facts.header(name);
    return value !== undefined && test(value);
  };
}

function requestPrincipalTest(values: readonly string[]): Test {
  const wanted = values.map(splitRequestPrincipal);
  return ({ claims }) => {
    const { iss, sub } = claims ?? {};
    if (typeof iss !== 'string' || typeof sub !== 'string') return false;
    return wanted.some(({ issuer, subject }) => passesTest(issuer, iss) && passesTest(subject, sub));
  };
}

/** Tests whether a claim equals one of the values, or is a list that contains one of them. */
function claimTest(path: readonly string[], values: readonly string[]): Test {
  const test = textTest(values);
  return ({ claims }) => {
    let found: unknown = claims;
    for (const step of path) {
      if (typeof found !== 'object' || found === null || Array.isArray(found) || !Object.hasOwn(found, step))
        return false;
      found = (found as Record<string, unknown>)[step];
    }
    if (Array.isArray(found)) return found.some((item) => typeof item === 'string' && test(item));
    return typeof found === 'string' && test(found);
  };
}

/** Tests metadata. If a value is enclosed in brackets, the metadata has to be a list that contains it. */
function metadataTest([filter, name]: readonly string[], values: readonly string[]): Test {
  const listed = values.filter((value) => value.startsWith('[') && value.endsWith(']'));
  const plain = textTest(values.filter((value) => !listed.includes(value)));
  const inList = textTest(listed.map((value) => value.replace(/^[[\]]+|[[\]]+$/g, '')));
  return ({ metadata }) => {
    const found = metadata?.[filter!]?.[name!];
    if (Array.isArray(found)) return found.some((item) => typeof item === 'string' && inList(item));
    return typeof found === 'string' && plain(found);
  };
}

interface TextForm {
  /** Whether upper and lower case are equivalent, as in host names. */
  readonly ignoreCase?: boolean;
  /**
   * The text that `*` on its own matches: either any text that is not empty (the default), or any text at all (for
   * headers that are present).
   */
  readonly star?: 'something' | 'present';
}

/** Compiles a list of patterns to a test, which looks up exact values in a set. An empty list matches nothing. */
function textTest(values: readonly string[], form: TextForm = {}): TextMatcher {
  const { ignoreCase = false, star = 'something' } = form;
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  const tests = values.map((value) => parseTextTest(fold(value)));
  if (tests.some((test) => test.form === 'present')) return star === 'present' ? () => true : (text) => text !== '';
  const isExact = oneOf(new Set(textsOf(tests, 'exact')));
  const [starts, ends] = [textsOf(tests, 'prefix'), textsOf(tests, 'suffix')];
  if (starts.length === 0 && ends.length === 0) return ignoreCase ? (text) => isExact(fold(text)) : isExact;
  return (given) => {
    const text = fold(given);
    if (isExact(text)) return true;
    for (const start of starts) if (text.startsWith(start)) return true;
    for (const end of ends) if (text.endsWith(end)) return true;
    return false;
  };
}

function oneOf(values: ReadonlySet<string>): TextMatcher {
  if (values.size === 0) return () => false;
  if (values.size === 1) {
    const [only] = values;
    return (text) => text === only;
  }
  return (text) => values.has(text);
}

/**
 * Compiles a list of principals to a test. Like the other tests of a peer, it receives the SPIFFE ID without its scheme,
 * such as `cluster.local/ns/shop/sa/web`, and matches it the way istiod configures Envoy.
 * @param trustDomains the mesh's own trust domain, followed by its aliases
 */
function principalTest(values: readonly string[], trustDomains: readonly string[]): TextMatcher {
  return textTest(values.flatMap((value) => withAliases(value, trustDomains)));
}

/** Compiles a namespace to a test. `*` matches any text, even if it spans more than one path segment. */
function namespaceTest(value: string): TextMatcher {
  const pieces = `/ns/${value}/`.split('*');
  const [only] = pieces;
  if (pieces.length === 1) return (id) => id.includes(only!);
  return (id) => {
    let at = 0;
    for (const piece of pieces) {
      const found = id.indexOf(piece, at);
      if (found < 0) return false;
      at = found + piece.length;
    }
    return true;
  };
}

/**
 * Compiles the name of a ServiceAccount to a test.
 * @param home the policy's own namespace, which is used if the name does not include one
 */
function serviceAccountTest(value: string, home: string): TextMatcher {
  const slash = value.indexOf('/');
  const [namespace, name] = slash < 0 ? [home, value] : [value.slice(0, slash), value.slice(slash + 1)];
  const usual = `/ns/${namespace}/sa/${name}`;
  const unusual = new RegExp(`^.+/ns/${escapeRegExp(namespace)}/(?:.+/|)sa/${escapeRegExp(name)}(?:/.+)?$`);
  return (id) => (id.endsWith(usual) && id.length > usual.length) || unusual.test(id);
}

/** Compiles a list of trust domains to a test, which passes if the peer's trust domain matches at least one of them. */
function trustDomainTest(values: readonly string[], trustDomains: readonly string[]): TextMatcher {
  const tests = values
    .flatMap((value) => expandTrustDomain(value, trustDomains))
    .map((value): TextMatcher => {
      if (value === '*') return () => true;
      const star = value.indexOf('*');
      if (star < 0) return (id) => id.startsWith(`${value}/`);
      const form = new RegExp(`^${escapeRegExp(value.slice(0, star))}[^/]*${escapeRegExp(value.slice(star + 1))}/.*$`);
      return (id) => form.test(id);
    });
  return (id) => tests.some((test) => test(id));
}
