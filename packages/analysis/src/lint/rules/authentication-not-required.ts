import {
  type AuthorizationPolicy,
  actionOf,
  isDryRun,
  type RequestAuthentication,
  selectorOf,
  selects,
  targetRefs,
} from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { conditionsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** A RequestAuthentication refuses bad tokens only: no token is as good as a good one, until a policy demands one. */
export const authenticationNotRequired: Rule = {
  code: 'MP401',
  name: 'authentication-not-required',
  severity: 'error',
  title: 'A RequestAuthentication without a policy that requires a token',
  fix: 'Add an AuthorizationPolicy for the same workloads: DENY with `notRequestPrincipals: ["*"]`, or ALLOW with `requestPrincipals`.',
  *check(context) {
    const inMesh = context.mesh.all('AuthorizationPolicy').filter(asksForToken);
    const demandingIn = (namespace: string) =>
      context.mesh.within('AuthorizationPolicy', namespace).filter(asksForToken);
    for (const authentication of context.mesh.all('RequestAuthentication')) {
      if (items(authentication.spec.jwtRules).length === 0) continue;
      const { namespace } = authentication.metadata;
      const root = namespace === context.mesh.config.rootNamespace;
      const demanding = root ? inMesh : [...demandingIn(namespace), ...demandingIn(context.mesh.config.rootNamespace)];
      if (demanding.some((policy) => meets(context, authentication, policy))) continue;
      const where = root ? 'the mesh' : `namespace ${namespace}`;
      yield {
        on: authentication,
        path: ['spec', 'jwtRules'],
        part: 'key',
        // In files the policy may stand elsewhere; in a mesh that is known whole it does not.
        severity: context.complete ? 'error' : 'warning',
        message: `a request without a token is allowed: no AuthorizationPolicy of ${where}${context.complete ? '' : ' among these files'} requires one for the same workloads.`,
      };
    }
  },
};

/** What is only logged demands nothing. */
function asksForToken(policy: AuthorizationPolicy): boolean {
  if (isDryRun(policy) || actionOf(policy) === 'AUDIT') return false;
  return rulesOf(policy).some(
    (rule) =>
      sourcesOf(rule).some(
        ({ value }) => texts(value.requestPrincipals).length > 0 || texts(value.notRequestPrincipals).length > 0,
      ) || conditionsOf(rule).some(({ value }) => String(value.key).startsWith('request.auth.')),
  );
}

function meets(context: LintContext, authentication: RequestAuthentication, policy: AuthorizationPolicy): boolean {
  const root = context.mesh.config.rootNamespace;
  const [own, other] = [authentication.metadata.namespace, policy.metadata.namespace];
  if (own !== other && own !== root && other !== root) return false;
  const [refs, theirs] = [items(targetRefs(authentication.spec)), items(targetRefs(policy.spec))];
  if (refs.length > 0 || theirs.length > 0) return refs.some(({ name }) => theirs.some((one) => one.name === name));
  const [wanted, meant] = [selectorOf(authentication) ?? {}, selectorOf(policy) ?? {}];
  const pods = context.mesh.podsIn(own).filter((pod) => selects(wanted, pod.labels));
  if (pods.length > 0 && own !== root) return pods.some((pod) => selects(meant, pod.labels));
  return Object.entries(meant).every(([name, value]) => wanted[name] === undefined || wanted[name] === value);
}
