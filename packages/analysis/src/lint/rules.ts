/** All rules, ordered by code. */
import { deadAtWaypoint } from './ambient/waypoint.ts';
import { deadAtZtunnel } from './ambient/ztunnel.ts';
import type { Rule } from './rule.ts';
import { DENIED_PATH_RULES } from './rules/denied-paths.ts';
import { ENTRY_POINT_RULES } from './rules/entry-points.ts';
import { envoyFilterBypass } from './rules/envoy-filter-bypass.ts';
import { EXPOSED_ROUTE_RULES } from './rules/exposed-routes.ts';
import { firstAllow } from './rules/first-allow.ts';
import { GATEWAY_SERVER_RULES } from './rules/gateway-servers.ts';
import { httpOnTcp } from './rules/http-on-tcp.ts';
import { istiodReachable } from './rules/istiod-reachable.ts';
import { mirroredToTest } from './rules/mirrored-to-test.ts';
import { MUTUAL_TLS_RULES } from './rules/mutual-tls.ts';
import { pathBypass } from './rules/path-bypass.ts';
import { POLICY_EFFECT_RULES } from './rules/policy-effect.ts';
import { POLICY_VALUE_RULES } from './rules/policy-values.ts';
import { RBAC_RULES } from './rules/rbac.ts';
import { ROUTE_HOST_RULES } from './rules/route-hosts.ts';
import { routeOutsideGrant } from './rules/route-outside-grant.ts';
import { SELECTOR_RULES } from './rules/selectors.ts';
import { serviceEntryBypass } from './rules/service-entry-bypass.ts';
import { shadowedRoute } from './rules/shadowed-route.ts';
import { sidecarBypass } from './rules/sidecar-bypass.ts';
import { TOKEN_RULES } from './rules/tokens.ts';
import { unboundedDelegate } from './rules/unbounded-delegate.ts';

export const RULES: readonly Rule[] = [
  EXPOSED_ROUTE_RULES,
  ROUTE_HOST_RULES,
  DENIED_PATH_RULES,
  shadowedRoute,
  unboundedDelegate,
  mirroredToTest,
  routeOutsideGrant,
  GATEWAY_SERVER_RULES,
  istiodReachable,
  POLICY_EFFECT_RULES,
  POLICY_VALUE_RULES,
  SELECTOR_RULES,
  httpOnTcp,
  firstAllow,
  pathBypass,
  deadAtZtunnel,
  deadAtWaypoint,
  TOKEN_RULES,
  MUTUAL_TLS_RULES,
  serviceEntryBypass,
  envoyFilterBypass,
  sidecarBypass,
  RBAC_RULES,
  ENTRY_POINT_RULES,
]
  .flat()
  .sort((a, b) => (a.code < b.code ? -1 : 1));
