/**
 * Tests of the peer's SPIFFE id, in the forms that istiod gives them: principals, namespaces, service accounts and trust
 * domains. Each gets the whole URI, or the empty text where the peer is not authenticated, which matches nothing.
 */
import { type TextTest, textTest } from './match-text.ts';

const SCHEME = 'spiffe://';

/** @param trustDomains the mesh's own first, then its aliases */
export function principalTest(values: readonly string[], trustDomains: readonly string[]): TextTest {
  return textTest(
    values.flatMap((value) => withAliases(value, trustDomains)),
    { before: SCHEME },
  );
}

/** A namespace, where `*` stands for anything, even for several steps of the path. */
export function namespaceTest(value: string): TextTest {
  const pieces = `/ns/${value}/`.split('*');
  return (uri) => {
    let at = 0;
    for (const piece of pieces) {
      const found = uri.indexOf(piece, at);
      if (found < 0) return false;
      at = found + piece.length;
    }
    return true;
  };
}

/** @param home namespace of the policy, meant by a name without one */
export function serviceAccountTest(value: string, home: string): TextTest {
  const slash = value.indexOf('/');
  const [namespace, name] = slash < 0 ? [home, value] : [value.slice(0, slash), value.slice(slash + 1)];
  const usual = `/ns/${namespace}/sa/${name}`;
  const unusual = new RegExp(`^spiffe://.+/ns/${quote(namespace)}/(?:.+/|)sa/${quote(name)}(?:/.+)?$`);
  return (uri) =>
    uri !== '' &&
    ((uri.startsWith(SCHEME) && uri.endsWith(usual) && uri.length > SCHEME.length + usual.length) || unusual.test(uri));
}

export function trustDomainTest(values: readonly string[], trustDomains: readonly string[]): TextTest {
  const tests = values
    .flatMap((value) => (trustDomains.includes(value) ? trustDomains : [value]))
    .map((value): TextTest => {
      if (value === '*') return (uri) => uri.startsWith(SCHEME);
      const star = value.indexOf('*');
      if (star < 0) return (uri) => uri.startsWith(`${SCHEME}${value}/`);
      const form = new RegExp(`^spiffe://${quote(value.slice(0, star))}[^/]*${quote(value.slice(star + 1))}/.*$`);
      return (uri) => form.test(uri);
    });
  return (uri) => tests.some((test) => test(uri));
}

/** A principal of the mesh is meant under all of its trust domains; `cluster.local` is a name for them. */
function withAliases(principal: string, trustDomains: readonly string[]): readonly string[] {
  const [written, ...path] = principal.split('/');
  if (path.length !== 4 || written === '*') return [principal];
  const ours = trustDomains.some((domain) => matchesDomain(domain, written!)) || written === 'cluster.local';
  if (!ours) return [principal];
  return trustDomains.map((domain) => (isSuffix(domain, written!) ? principal : [domain, ...path].join('/')));
}

function matchesDomain(domain: string, written: string): boolean {
  if (written === '*') return true;
  return domain === written || isSuffix(domain, written) || isPrefix(domain, written);
}

function isSuffix(domain: string, written: string): boolean {
  return written.startsWith('*') && domain.endsWith(written.slice(1));
}

function isPrefix(domain: string, written: string): boolean {
  return written.endsWith('*') && domain.startsWith(written.slice(0, -1));
}

function quote(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
