/** Lists all rules, ordered by their codes. */
import { deadAtWaypoint } from './ambient/waypoint.ts';
import { deadAtZtunnel } from './ambient/ztunnel.ts';
import type { Rule } from './rule.ts';
import { BYPASS_RULES } from './rules/bypasses.ts';
import { DENIED_PATH_RULES } from './rules/denied-paths.ts';
import { ENTRY_POINT_RULES } from './rules/entry-points.ts';
import { EXPOSED_ROUTE_RULES } from './rules/exposed-test-routes.ts';
import { GATEWAY_SERVER_RULES } from './rules/gateway-servers.ts';
import { httpOnTcp } from './rules/http-on-tcp.ts';
import { MUTUAL_TLS_RULES } from './rules/mutual-tls.ts';
import { POLICY_EFFECT_RULES } from './rules/policy-effect.ts';
import { POLICY_VALUE_RULES } from './rules/policy-values.ts';
import { RBAC_RULES } from './rules/rbac.ts';
import { ROUTE_DESTINATION_RULES } from './rules/route-destinations.ts';
import { ROUTE_HOST_RULES } from './rules/route-hosts.ts';
import { SELECTOR_RULES } from './rules/selectors.ts';
import { shadowedRoute } from './rules/shadowed-route.ts';
import { TOKEN_RULES } from './rules/tokens.ts';

export const RULES: readonly Rule[] = [
  EXPOSED_ROUTE_RULES,
  ROUTE_HOST_RULES,
  DENIED_PATH_RULES,
  shadowedRoute,
  ROUTE_DESTINATION_RULES,
  GATEWAY_SERVER_RULES,
  POLICY_EFFECT_RULES,
  POLICY_VALUE_RULES,
  SELECTOR_RULES,
  httpOnTcp,
  deadAtZtunnel,
  deadAtWaypoint,
  TOKEN_RULES,
  MUTUAL_TLS_RULES,
  BYPASS_RULES,
  RBAC_RULES,
  ENTRY_POINT_RULES,
]
  .flat()
  .sort((a, b) => (a.code < b.code ? -1 : 1));
