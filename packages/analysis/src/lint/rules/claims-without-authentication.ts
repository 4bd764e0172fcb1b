import {
  type AuthorizationPolicy,
  actionOf,
  isForSidecars,
  type Path,
  type RequestAuthentication,
  selectorOf,
  selects,
} from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { conditionsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** Rules about tokens, where nothing verifies a token. */
export const claimsWithoutAuthentication: Rule = {
  code: 'MP316',
  name: 'claims-without-authentication',
  severity: 'warning',
  title: 'A rule matches token claims where no RequestAuthentication verifies a token',
  fix: 'Add a RequestAuthentication that selects the same workloads.',
  *check(context) {
    const all = context.mesh.all('RequestAuthentication');
    // Among files without any, it stands somewhere else.
    if (all.length === 0 && !context.complete) return;
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const at = firstClaim(policy);
      if (!at || all.some((one) => mayApply(context, one, policy))) continue;
      if (!context.complete && !all.some((one) => one.metadata.namespace === policy.metadata.namespace)) continue;
      yield {
        on: policy,
        path: at,
        part: 'key',
        message: `no RequestAuthentication applies to these workloads, so no call has a verified token: ${
          actionOf(policy) === 'DENY'
            ? 'a DENY of those without one denies everybody, a DENY by claim nobody'
            : 'nobody is allowed by this rule'
        }.`,
      };
    }
  },
};

function firstClaim(policy: AuthorizationPolicy): Path | undefined {
  for (const rule of rulesOf(policy)) {
    for (const { value, path } of sourcesOf(rule)) {
      const list = (['requestPrincipals', 'notRequestPrincipals'] as const).find((one) => texts(value[one]).length > 0);
      if (list) return [...path, list];
    }
    for (const { value, path } of conditionsOf(rule)) {
      if (String(value.key).startsWith('request.auth.')) return [...path, 'key'];
    }
  }
  return undefined;
}

/** Whether some workload may be under both. */
function mayApply(context: LintContext, authentication: RequestAuthentication, policy: AuthorizationPolicy): boolean {
  const { namespace } = authentication.metadata;
  const root = context.mesh.config.rootNamespace;
  if (namespace !== root && namespace !== policy.metadata.namespace && policy.metadata.namespace !== root) return false;
  if (!isForSidecars(authentication) || !isForSidecars(policy)) return true;
  const [wanted, meant] = [selectorOf(authentication), selectorOf(policy)];
  if (!wanted || !meant) return true;
  const pods = context.mesh.podsIn(policy.metadata.namespace).filter((pod) => selects(meant, pod.labels));
  if (pods.length > 0) return pods.some((pod) => selects(wanted, pod.labels));
  return Object.entries(wanted).every(([name, value]) => meant[name] === undefined || meant[name] === value);
}
