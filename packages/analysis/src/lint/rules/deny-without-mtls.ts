import { type AuthorizationSource, actionOf, isForSidecars, selectorOf, selectsPods } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { plainTextPort } from '../mutual-tls.ts';
import { conditionsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

const PEER: readonly (keyof AuthorizationSource)[] = ['principals', 'namespaces', 'serviceAccounts', 'trustDomains'];

/** Who is denied by certificate calls without one. */
export const denyWithoutMtls: Rule = {
  code: 'MP314',
  name: 'deny-without-mtls',
  severity: 'error',
  title: 'A DENY identifies callers by certificate on a workload that accepts calls without one',
  fix: 'Set PeerAuthentication STRICT for the workload, or deny everyone else with `notPrincipals`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (actionOf(policy) !== 'DENY' || !isForSidecars(policy)) continue;
      const selector = selectorOf(policy) ?? {};
      const plain = plainTextPort(context, policy.metadata.namespace, selector, (pod) => selectsPods(policy, pod));
      if (!plain) continue;
      for (const rule of rulesOf(policy)) {
        const source = sourcesOf(rule).find(({ value }) => PEER.some((one) => texts(value[one]).length > 0));
        const condition = conditionsOf(rule).find(
          ({ value }) =>
            /^source\.(?:principal|namespace|serviceAccount)$/.test(String(value.key)) &&
            texts(value.values).length > 0,
        );
        const at = source
          ? [...source.path, PEER.find((one) => texts(source.value[one]).length > 0)!]
          : condition?.path;
        if (!at) continue;
        yield {
          on: policy,
          path: at,
          ...(source && { part: 'key' as const }),
          message: `a caller that this rule denies can connect without a certificate and is then allowed: ${plain}.`,
        };
      }
    }
  },
};
