/** Defines rules about paths that a policy is meant to deny, and that calls reach by a route or in another spelling. */
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  authorizationPolicies,
  type Gateway,
  type HttpMatch,
} from '@meshpass/istio';
import { items, listed } from '@meshpass/istio/members';
import { parseTextTest, passesTest } from '../../diff/formula/text-test.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import { policiesAtGateway, workloadsBehind } from '../../exposure/identity.ts';
import { mayMatch } from '../../routes/text-match.ts';
import { operationEntries } from '../parts.ts';
import { each, type Problem, type Rule } from '../rule.ts';

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
          ...workloadsBehind(context.mesh, exposure).flatMap((one) => authorizationPolicies(context.mesh, one)),
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

/**
 * Reports paths that are denied in one spelling although the application also accepts others. Envoy applies the mesh's
 * path normalization, and then compares the path case-sensitively and without the query string. Source:
 * https://istio.io/latest/docs/ops/best-practices/security/#path-normalization
 */
const pathBypass: Rule = {
  code: 'MP310',
  name: 'path-bypass',
  severity: 'warning',
  title: 'A denied path has equivalent spellings, or a path is written in a form that no request has',
  fix: 'Invert the policy: ALLOW the intended paths. Otherwise deny `/admin` and `/admin/*` together, and set `meshConfig.pathNormalization`.',
  check: each(operationEntries, ({ on, list, value, all }, { mesh }) => {
    if (list !== 'paths' && list !== 'notPaths') return undefined;
    const { pathNormalization } = mesh.config;
    const why = whyNever(value, pathNormalization);
    if (why) return { message: `no request has the path ${JSON.stringify(value)}: ${why}.`, severity: 'error' };
    return list === 'paths' && actionOf(on) === 'DENY' ? otherSpelling(value, all, pathNormalization) : undefined;
  }),
};

/** Finds a spelling of a denied path that is not denied itself, although most servers treat both alike. */
function otherSpelling(path: string, all: readonly string[], normalization: string): Problem | undefined {
  const sibling = missingSibling(path, all);
  if (sibling) return { message: `${path} is denied and ${sibling} is not: most servers treat both alike.` };
  if (normalization === 'NONE') {
    return {
      message: `the mesh does not normalize paths: ${path.replace('/', '//')} and ${path.replace('/', '/./')} pass.`,
      severity: 'error',
    };
  }
  const mergeable = path === all[0] && /[A-Za-z]/.test(path) && path.split('/').length > 2;
  if (normalization !== 'BASE' || !mergeable) return undefined;
  return {
    message: `with pathNormalization BASE, ${path.replace(/^(\/[^/]+)\//, '$1//')} is another path, and bypasses the rule if the server merges slashes.`,
    severity: 'note',
  };
}

function whyNever(path: string, normalization: string): string | undefined {
  const bare = path.replace(/^\*|\*$/g, '');
  if (bare.includes('?')) return 'the query is not part of what is compared';
  if (bare.includes('#')) return 'a fragment is not sent';
  if (!/^[/*]/.test(path)) return 'a path begins with /';
  // The text before a trailing `*` may be only the start of a segment, as in `/.well-known`.
  const dots = path.endsWith('*') ? /\/\.{1,2}\// : /\/\.{1,2}(?:\/|$)/;
  if (normalization !== 'NONE' && dots.test(bare)) return '. and .. are resolved first';
  if (bare.includes('\\') && normalization !== 'NONE') return 'backslashes are converted to slashes first';
  if (normalization.endsWith('MERGE_SLASHES') && bare.includes('//')) return 'slashes are merged first';
  return normalization.startsWith('DECODE') && /%2f|%5c/i.test(bare) ? 'escaped slashes are decoded first' : undefined;
}

function missingSibling(path: string, all: readonly string[]): string | undefined {
  const taken = (one: string) => all.some((pattern) => passesTest(parseTextTest(pattern), one));
  if (path.includes('{') || path.startsWith('*') || path === '/') return undefined;
  if (path.endsWith('/*')) {
    const bare = path.slice(0, -2);
    return bare === '' || taken(bare) ? undefined : bare;
  }
  if (path.endsWith('*')) return undefined;
  const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
  return taken(other) ? undefined : other;
}

export const DENIED_PATH_RULES: readonly Rule[] = [caseInsensitiveRoute, rewriteBypass, pathBypass];
