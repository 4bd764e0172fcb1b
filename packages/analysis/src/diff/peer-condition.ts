/**
 * Conditions on the peer, expressed by the parts of its identity. A mesh workload is
 * `spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`. No part contains a `/`, so a pattern over the whole identity can be
 * split into patterns over its parts. Sources: Istio's pilot/pkg/security/authz/model and
 * pilot/pkg/security/trustdomain.
 */
import { expandTrustDomain, type TrustDomains, trustDomainsOf, withAliases } from '@meshpass/istio';
import { ALWAYS, all, any, type Condition, flag, NEVER, type TextField, text } from './formula/condition.ts';
import { parseGlob, parseTextTest, type TextTest } from './formula/text-test.ts';

const PEER = flag('peer');

/**
 * Condition for `principals`: TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT, exact or with `*` at one end.
 * @param domains trust domains of the mesh; empty for a proxy that compares principals as written
 */
export function principal(value: string, domains: readonly string[]): Condition {
  return any(withAliases(value, domains).map((one) => all([PEER, ofWhole(parseTextTest(one))])));
}

/**
 * Condition for `namespaces`. Istio compiles each value to the regular expression `.*\/ns/VALUE/.*`, in which `*`
 * matches any characters.
 */
export function namespace(value: string): Condition {
  if (value === '*') return PEER;
  const asked: Condition[] = [text('peer.namespace', globTest(value))];
  // `*` also matches slashes, so VALUE may end within "NAMESPACE/sa".
  if (value.startsWith('*') && '/sa'.endsWith(value.slice(1))) return PEER;
  if (value.includes('*') && value.endsWith('/sa')) asked.push(text('peer.namespace', globTest(value.slice(0, -3))));
  return all([PEER, any(asked)]);
}

/** Condition for `serviceAccounts`: either ACCOUNT in the policy's own namespace, or NAMESPACE/ACCOUNT. */
export function serviceAccountCondition(value: string, policyNamespace: string): Condition {
  const at = value.indexOf('/');
  const inNamespace = at < 0 ? policyNamespace : value.slice(0, at);
  return all([
    PEER,
    text('peer.namespace', { form: 'exact', text: inNamespace }),
    text('peer.account', { form: 'exact', text: value.slice(at + 1) }),
  ]);
}

/** Condition for `trustDomains`: exact, or with a single `*`. */
export function trustDomains(value: string, trust: TrustDomains): Condition {
  if (value === '*') return PEER;
  const values = expandTrustDomain(value, trustDomainsOf(trust));
  return all([PEER, any(values.map((one) => text('peer.trustDomain', parseGlob(one, 'label'))))]);
}

/** Splits a test over TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT into tests of its parts. */
function ofWhole(test: TextTest): Condition {
  if (test.form === 'present') return ALWAYS;
  if (test.form === 'pattern') return NEVER; // principals have no patterns
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

/** Prefixes and suffixes can be compared faster than patterns. */
function globTest(value: string): TextTest {
  return value.split('*').length === 2 && /^\*|\*$/.test(value) ? parseTextTest(value) : parseGlob(value);
}
