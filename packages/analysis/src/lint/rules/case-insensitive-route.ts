import { authorizationPolicies } from '@meshpass/istio';
import { items, listed, texts } from '@meshpass/istio/members';
import { policiesAtGateway } from '../exposure/requires-identity.ts';
import type { Rule } from '../rule.ts';
import { shareOfPaths } from '../text-match.ts';

/** Routes without regard to case, in front of a policy that has regard to it. */
export const caseInsensitiveRoute: Rule = {
  code: 'MP109',
  name: 'case-insensitive-route',
  severity: 'error',
  title: 'A route matches paths regardless of case, and a policy denies them in one case only',
  fix: 'Remove `ignoreUriCase`, or invert the policy: deny everything but the intended paths with `notPaths`.',
  *check(context) {
    for (const exposure of context.exposures) {
      for (const [index, match] of items(exposure.route?.match).entries()) {
        if (match.ignoreUriCase !== true) continue;
        const policies = [
          ...(exposure.service
            ? context.mesh.podsBehind(exposure.service).flatMap((one) => authorizationPolicies(context.mesh, one))
            : []),
          ...exposure.gateways.flatMap(({ gateway }) => (gateway ? policiesAtGateway(context.mesh, gateway) : [])),
        ].filter(({ spec }) => spec.action === 'DENY');
        const around = policies.find((policy) =>
          items(policy.spec.rules).some((rule) =>
            items(rule.to).some(({ operation }) =>
              texts(operation?.paths).some((path) => /[a-z]/i.test(path) && shareOfPaths(path, match.uri) !== 'none'),
            ),
          ),
        );
        if (!around) continue;
        const paths = items(around.spec.rules).flatMap((rule) =>
          items(rule.to).flatMap(({ operation }) => texts(operation?.paths)),
        );
        yield {
          on: exposure.on,
          path: [...exposure.path, 'match', index, 'ignoreUriCase'],
          part: 'key',
          message: `AuthorizationPolicy ${around.metadata.namespace}/${around.metadata.name} denies ${listed(paths)} in this case only, and the route matches any case: ${(paths[0] ?? '').toUpperCase()} is allowed.`,
        };
      }
    }
  },
};
