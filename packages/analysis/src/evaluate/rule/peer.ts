/**
 * Tests the peer's SPIFFE ID as istiod's generated configuration does: principals, namespaces, ServiceAccounts and
 * trust domains. Each test receives the ID without its scheme, such as `cluster.local/ns/shop/sa/web`.
 */
import { expandTrustDomain, withAliases } from '@meshpass/istio';
import { escapeRegExp } from '../../diff/formula/pattern.ts';
import { type TextTest, textTest } from './text.ts';

/**
 * Compiles a test for principals.
 * @param trustDomains the mesh's own trust domain, followed by its aliases
 */
export function principalTest(values: readonly string[], trustDomains: readonly string[]): TextTest {
  return textTest(values.flatMap((value) => withAliases(value, trustDomains)));
}

/** Compiles a test for a namespace. `*` matches any text, including more than one path segment. */
export function namespaceTest(value: string): TextTest {
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
 * Compiles a test for a ServiceAccount.
 * @param home the policy's namespace, used for names without a namespace
 */
export function serviceAccountTest(value: string, home: string): TextTest {
  const slash = value.indexOf('/');
  const [namespace, name] = slash < 0 ? [home, value] : [value.slice(0, slash), value.slice(slash + 1)];
  const usual = `/ns/${namespace}/sa/${name}`;
  const unusual = new RegExp(`^.+/ns/${escapeRegExp(namespace)}/(?:.+/|)sa/${escapeRegExp(name)}(?:/.+)?$`);
  return (id) => (id.endsWith(usual) && id.length > usual.length) || unusual.test(id);
}

/** Creates a test for the peer's trust domain. It passes if at least one value matches. */
export function trustDomainTest(values: readonly string[], trustDomains: readonly string[]): TextTest {
  const tests = values
    .flatMap((value) => expandTrustDomain(value, trustDomains))
    .map((value): TextTest => {
      if (value === '*') return () => true;
      const star = value.indexOf('*');
      if (star < 0) return (id) => id.startsWith(`${value}/`);
      const form = new RegExp(`^${escapeRegExp(value.slice(0, star))}[^/]*${escapeRegExp(value.slice(star + 1))}/.*$`);
      return (id) => form.test(id);
    });
  return (id) => tests.some((test) => test(id));
}
