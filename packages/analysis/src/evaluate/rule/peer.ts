/**
 * Tests of the peer's SPIFFE id in istiod's forms: principals, namespaces, service accounts and trust domains. Each
 * test receives the id without its scheme: `cluster.local/ns/shop/sa/web`.
 */
import { expandTrustDomain, withAliases } from '@meshpass/istio';
import { escapeRegExp } from '../../diff/formula/pattern.ts';
import { type TextTest, textTest } from './text.ts';

/**
 * Compiles a test for principals.
 * @param trustDomains the mesh's own first, then its aliases
 */
export function principalTest(values: readonly string[], trustDomains: readonly string[]): TextTest {
  return textTest(values.flatMap((value) => withAliases(value, trustDomains)));
}

/** Compiles a test for a namespace, in which `*` matches any text, even several path segments. */
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
 * Compiles a test for a service account.
 * @param home the policy's namespace, for names without a namespace
 */
export function serviceAccountTest(value: string, home: string): TextTest {
  const slash = value.indexOf('/');
  const [namespace, name] = slash < 0 ? [home, value] : [value.slice(0, slash), value.slice(slash + 1)];
  const usual = `/ns/${namespace}/sa/${name}`;
  const unusual = new RegExp(`^.+/ns/${escapeRegExp(namespace)}/(?:.+/|)sa/${escapeRegExp(name)}(?:/.+)?$`);
  return (id) => (id.endsWith(usual) && id.length > usual.length) || unusual.test(id);
}

/** Creates a test of the peer's trust domain. One matching value is enough. */
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
