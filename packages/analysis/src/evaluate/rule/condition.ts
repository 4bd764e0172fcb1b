/** Compiles the conditions (`when`) of a rule, supporting every key that Istio 1.31 knows. */
import type { Test } from '../facts.ts';
import { addressPart, type Part, part, peerTest, portPart, type RuleContext } from './field.ts';
import { namespaceTest, principalTest, serviceAccountTest, trustDomainTest } from './peer.ts';
import { requestPrincipalTest } from './request-principal.ts';
import { textTest } from './text.ts';

/**
 * Compiles a condition of a rule.
 * @returns the compiled condition, or undefined if istiod does not recognize its key and therefore leaves out the whole
 *   rule
 */
export function conditionPart(
  condition: Partial<Pick<Part, 'values' | 'notValues'>> & { readonly key?: string },
  context: RuleContext,
): { readonly side: 'peer' | 'call'; readonly part: Part } | undefined {
  const { key = '', values, notValues } = condition;
  const { trustDomains, namespace, forTcp } = context;
  const peer = (compile: Part['compile']) => ({ side: 'peer' as const, part: part(values, notValues, compile) });
  const call = (compile: Part['compile']) => ({ side: 'call' as const, part: part(values, notValues, compile) });
  const http = (compile: Part['compile']): Part['compile'] => (forTcp ? () => undefined : compile);
  switch (key) {
    case 'destination.ip':
      return { side: 'call', part: addressPart(values, notValues, ({ destinationIp }) => destinationIp) };
    case 'destination.port':
      return { side: 'call', part: portPart(values, notValues) };
    case 'connection.sni':
      return call((some) => {
        const test = textTest(some);
        return ({ sni }) => test(sni);
      });
    case 'source.ip':
      return { side: 'peer', part: addressPart(values, notValues, ({ sourceIp }) => sourceIp) };
    case 'remote.ip':
      return { side: 'peer', part: addressPart(values, notValues, ({ remoteIp }) => remoteIp) };
    case 'source.namespace':
      return peer((some) => peerTest(some.map(namespaceTest)));
    case 'source.serviceAccount':
      return peer((some) => peerTest(some.map((value) => serviceAccountTest(value, namespace))));
    case 'source.trustDomain':
      return peer((some) => peerTest([trustDomainTest(some, trustDomains)]));
    case 'source.principal':
      return peer((some) => peerTest([principalTest(some, trustDomains)]));
    case 'request.auth.principal':
      return peer(http(requestPrincipalTest));
    case 'request.auth.audiences':
      return peer(http((some) => claimTest(['aud'], some)));
    case 'request.auth.presenter':
      return peer(http((some) => claimTest(['azp'], some)));
  }
  if (key.startsWith('experimental.envoy.filters.')) return call((some) => metadataTest(key, some));
  if (key.startsWith('request.headers')) {
    const name = inBrackets(key.slice('request.headers'.length));
    return peer(http((some) => headerTest(name, some)));
  }
  if (key.startsWith('request.auth.claims')) {
    const path = claimPath(key.slice('request.auth.claims'.length));
    return peer(http((some) => claimTest(path, some)));
  }
  return undefined;
}

function headerTest(written: string | undefined, values: readonly string[]): Test | undefined {
  if (written === undefined) return undefined;
  const name = written.toLowerCase();
  const test = textTest(values, { star: 'present' });
  return (facts) => {
    const value = facts.header(name);
    return value !== undefined && test(value);
  };
}

/** Tests whether a claim equals one of the values, or is a list that contains one of them. */
function claimTest(path: readonly string[] | undefined, values: readonly string[]): Test | undefined {
  if (path === undefined) return undefined;
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

/**
 * Tests the metadata that `experimental.envoy.filters.NAME[KEY]` refers to. If a value is enclosed in brackets, the
 * metadata has to be a list that contains it.
 */
function metadataTest(key: string, values: readonly string[]): Test | undefined {
  const text = key.slice('experimental.'.length).replace(/\]$/, '');
  const bracket = text.indexOf('[');
  if (bracket < 0) return undefined;
  const [filter, name] = [text.slice(0, bracket), text.slice(bracket + 1)];
  const listed = values.filter((value) => value.startsWith('[') && value.endsWith(']'));
  const plain = textTest(values.filter((value) => !listed.includes(value)));
  const inList = textTest(listed.map((value) => value.replace(/^[[\]]+|[[\]]+$/g, '')));
  return ({ metadata }) => {
    const found = metadata?.[filter]?.[name];
    if (Array.isArray(found)) return found.some((item) => typeof item === 'string' && inList(item));
    return typeof found === 'string' && plain(found);
  };
}

function inBrackets(text: string): string | undefined {
  return text.startsWith('[') && text.endsWith(']') ? text.replace(/\]$/, '').replace(/^\[/, '') : undefined;
}

/**
 * Parses the path to a claim. `[a][b]` refers to the claim b within the claim a. Any other text is the name of a single
 * claim, including its brackets.
 */
function claimPath(text: string): readonly string[] | undefined {
  if (/^(?:\[[^[\]]*\])*$/.test(text)) return [...text.matchAll(/\[([^[\]]*)\]/g)].map((match) => match[1]!);
  const name = inBrackets(text);
  return name === undefined ? undefined : [name];
}
