/**
 * Creates conditions on the peer, which test the parts of its identity. The identity of a workload in the mesh is
 * `spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`. No part contains a `/`, so a pattern for the whole identity can be
 * split into patterns for its parts. Sources: Istio's pilot/pkg/security/authz/model and
 * pilot/pkg/security/trustdomain.
 */
import { expandTrustDomain, type TrustDomains, trustDomainsOf, withAliases } from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, type TextField, text } from './formula/condition.ts';
import { parseGlob, parseTextTest, type TextTest } from './formula/text-test.ts';

const PEER = flag('peer');

/**
 * Creates the condition for an entry of `principals`, which is TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT, either exact or
 * with `*` at one end.
 * @param domains the trust domains of the mesh, or an empty list for a proxy that compares principals as written
 */
export function principal(value: string, domains: readonly string[]): Condition {
  return any(withAliases(value, domains).map((one) => all([PEER, ofWhole(parseTextTest(one))])));
}

/**
 * Creates the condition for an entry of `namespaces`. Istio compiles each value to the regular expression
 * `.*\/ns/VALUE/.*`, where `*` matches any characters.
 */
export function namespace(value: string): Condition {
  if (value === '*') return PEER;
  const asked: Condition[] = [text('peer.namespace', globTest(value))];
  // `*` also matches slashes, so VALUE may extend into the "/sa" that follows the namespace.
  if (value.startsWith('*') && '/sa'.endsWith(value.slice(1))) return PEER;
  if (value.includes('*') && value.endsWith('/sa')) asked.push(text('peer.namespace', globTest(value.slice(0, -3))));
  return all([PEER, any(asked)]);
}

/**
 * Creates the condition for an entry of `serviceAccounts`, which is either ACCOUNT in the policy's own namespace or
 * NAMESPACE/ACCOUNT.
 */
export function serviceAccountCondition(value: string, policyNamespace: string): Condition {
  const at = value.indexOf('/');
  const inNamespace = at < 0 ? policyNamespace : value.slice(0, at);
  return all([
    PEER,
    text('peer.namespace', { form: 'exact', text: inNamespace }),
    text('peer.account', { form: 'exact', text: value.slice(at + 1) }),
  ]);
}

/** Creates the condition for an entry of `trustDomains`, which is either exact or contains a single `*`. */
export function trustDomains(value: string, trust: TrustDomains): Condition {
  if (value === '*') return PEER;
  const values = expandTrustDomain(value, trustDomainsOf(trust));
  return all([PEER, any(values.map((one) => text('peer.trustDomain', parseGlob(one, 'label'))))]);
}

/** Splits a test of the whole identity, TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT, into tests of its parts. */
function ofWhole(test: TextTest): Condition {
  if (test.form === 'present') return ALWAYS;
  if (test.form === 'pattern') return NEVER; // parseTextTest never returns a pattern
  const parts = test.text.split('/');
  if (parts.length > PARTS.length || (test.form === 'exact' && parts.length < PARTS.length)) return NEVER;
  const first = test.form === 'suffix' ? PARTS.length - parts.length : 0;
  return all(
    parts.map((part, index) => {
      const cut = test.form === 'prefix' ? index === parts.length - 1 : test.form === 'suffix' && index === 0;
      const form = cut ? test.form : 'exact';
      const place = PARTS[first + index]!;
      if (place.field) return part === '' && cut ? ALWAYS : text(place.field, { form, text: part });
      const fits = {
        exact: place.name === part,
        prefix: place.name.startsWith(part),
        suffix: place.name.endsWith(part),
      };
      return fits[form] ? ALWAYS : NEVER;
    }),
  );
}

const PARTS: readonly (
  | { readonly field: TextField; readonly name?: undefined }
  | { readonly field?: undefined; readonly name: string }
)[] = [
  { field: 'peer.trustDomain' },
  { name: 'ns' },
  { field: 'peer.namespace' },
  { name: 'sa' },
  { field: 'peer.account' },
];

/** Parses a glob, preferring prefixes and suffixes because they can be compared faster than patterns. */
function globTest(value: string): TextTest {
  return value.split('*').length === 2 && /^\*|\*$/.test(value) ? parseTextTest(value) : parseGlob(value);
}
