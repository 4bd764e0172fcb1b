/** Defines rules about routes that let calls reach a path that a policy is meant to deny. */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  authorizationPolicies,
  type Gateway,
  type HttpMatch,
} from '@meshpass/istio';
import { items, listed } from '@meshpass/istio/members';
import type { Exposure } from '../../exposure/exposure.ts';
import { policiesAtGateway } from '../../exposure/identity.ts';
import { mayMatch } from '../../routes/text-match.ts';
import type { Rule } from '../rule.ts';

/** Reports routes that ignore case although the policy at their destination does not. */
const caseInsensitiveRoute: Rule = {
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
          ...gatewaysOf(exposure).flatMap((gateway) => policiesAtGateway(context.mesh, gateway)),
        ].filter(({ spec }) => spec.action === 'DENY');
        const around = policies.find(({ spec }) =>
          pathsOf(spec.rules).some((path) => /[a-z]/i.test(path) && mayMatch(path, match.uri)),
        );
        if (!around) continue;
        const paths = pathsOf(around.spec.rules);
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

/**
 * Reports rewrites that run after the gateway's policy has checked the requested path, so that the workload receives a
 * path that the policy denies.
 */
const rewriteBypass: Rule = {
  code: 'MP111',
  name: 'rewrite-bypass',
  severity: 'error',
  title: "A rewrite produces a path that the gateway's policy denies",
  fix: 'Deny the path at the workload, which sees the rewritten path, or also deny the path before the rewrite.',
  *check(context) {
    for (const exposure of context.exposures) {
      const to = exposure.route?.rewrite?.uri;
      if (to === undefined) continue;
      const denied = gatewaysOf(exposure).flatMap((gateway) =>
        policiesAtGateway(context.mesh, gateway).map((policy) => ({ gateway, policy, paths: pathsDenied(policy) })),
      );
      for (const { gateway, policy, paths } of denied) {
        const reached = paths.find((path) => exposure.matches.some((match) => becomesReachable(path, match, to)));
        if (reached === undefined) continue;
        yield {
          on: exposure.on,
          path: [...exposure.path, 'rewrite', 'uri'],
          message: `Gateway ${gateway.metadata.namespace}/${gateway.metadata.name} denies ${reached} (${policy.metadata.name}) by the requested path; ${exposure.matches.map(({ uri }) => uri?.prefix ?? uri?.exact).join(', ')} becomes ${to} after that check, so ${reached} is reachable.`,
        };
      }
    }
  },
};

/** Returns the Istio Gateways among the entry points of an exposure. */
function gatewaysOf({ entries }: Exposure): readonly Gateway[] {
  return entries.flatMap(({ kind, object }) => (kind === 'Gateway' && object ? [object as Gateway] : []));
}

/** Returns the paths that a policy denies to callers without a token. */
function pathsDenied({ spec }: AuthorizationPolicy): readonly string[] {
  if (spec.action !== 'DENY') return [];
  return pathsOf(
    spec.rules?.filter(
      ({ from = [] }) => from.length === 0 || from.some(({ source }) => source?.notRequestPrincipals?.length),
    ),
  );
}

function pathsOf(rules: readonly AuthorizationRule[] = []): readonly string[] {
  return rules.flatMap(({ to = [] }) => to.flatMap(({ operation }) => operation?.paths ?? []));
}

/** Checks whether a match allows a path only because of a rewrite. */
function becomesReachable(path: string, { uri }: HttpMatch, to: string): boolean {
  if (uri?.regex !== undefined || mayMatch(path, uri)) return false;
  return mayMatch(path, uri?.exact !== undefined ? { exact: to } : { prefix: to });
}

export const DENIED_PATH_RULES: readonly Rule[] = [caseInsensitiveRoute, rewriteBypass];
