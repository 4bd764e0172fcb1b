/** Every rule, in the order of its code. */
import type { Rule } from './rule.ts';
import { anyAudience } from './rules/any-audience.ts';
import { anyHostRoute } from './rules/any-host-route.ts';
import { authenticationNotRequired } from './rules/authentication-not-required.ts';
import { caseInsensitiveRoute } from './rules/case-insensitive-route.ts';
import { claimsWithoutAuthentication } from './rules/claims-without-authentication.ts';
import { clientTlsDisabled } from './rules/client-tls-disabled.ts';
import { denyWithoutMtls } from './rules/deny-without-mtls.ts';
import { dryRun } from './rules/dry-run.ts';
import { emptyRule } from './rules/empty-rule.ts';
import { envoyFilterBypass } from './rules/envoy-filter-bypass.ts';
import { exportedEverywhere } from './rules/exported-everywhere.ts';
import { firstAllow } from './rules/first-allow.ts';
import { gatewayAnyHost } from './rules/gateway-any-host.ts';
import { gatewayPlainHttp } from './rules/gateway-plain-http.ts';
import { gatewaySelectsAll } from './rules/gateway-selects-all.ts';
import { headerOnlyGuard } from './rules/header-only-guard.ts';
import { hostPortBypass } from './rules/host-port-bypass.ts';
import { httpOnTcp } from './rules/http-on-tcp.ts';
import { istiodReachable } from './rules/istiod-reachable.ts';
import { jwksByUrl } from './rules/jwks-by-url.ts';
import { methodFormat } from './rules/method-format.ts';
import { mirroredToTest } from './rules/mirrored-to-test.ts';
import { negativeOnly } from './rules/negative-only.ts';
import { newExposure } from './rules/new-exposure.ts';
import { notARegex } from './rules/not-a-regex.ts';
import { openTestRoute } from './rules/open-test-route.ts';
import { optionalClientCertificate } from './rules/optional-client-certificate.ts';
import { passthroughBeyondGrants } from './rules/passthrough-beyond-grants.ts';
import { passthroughNamespaceForm } from './rules/passthrough-namespace-form.ts';
import { pathBypass } from './rules/path-bypass.ts';
import { permissiveMtls } from './rules/permissive-mtls.ts';
import { principalFormat } from './rules/principal-format.ts';
import { rbacBeyondGrant } from './rules/rbac-beyond-grant.ts';
import { rbacBypass } from './rules/rbac-bypass.ts';
import { rewriteBypass } from './rules/rewrite-bypass.ts';
import { routeOutsideGrant } from './rules/route-outside-grant.ts';
import { selectsNothing } from './rules/selects-nothing.ts';
import { serviceEntryBypass } from './rules/service-entry-bypass.ts';
import { shadowedRoute } from './rules/shadowed-route.ts';
import { sidecarBypass } from './rules/sidecar-bypass.ts';
import { subjectWithSlash } from './rules/subject-with-slash.ts';
import { unboundHost } from './rules/unbound-host.ts';
import { unboundedDelegate } from './rules/unbounded-delegate.ts';
import { unknownCondition } from './rules/unknown-condition.ts';
import { wrongSelector } from './rules/wrong-selector.ts';

export const RULES: readonly Rule[] = [
  openTestRoute,
  newExposure,
  anyHostRoute,
  unboundHost,
  shadowedRoute,
  headerOnlyGuard,
  exportedEverywhere,
  unboundedDelegate,
  caseInsensitiveRoute,
  mirroredToTest,
  rewriteBypass,
  routeOutsideGrant,
  gatewayAnyHost,
  gatewayPlainHttp,
  passthroughBeyondGrants,
  passthroughNamespaceForm,
  istiodReachable,
  gatewaySelectsAll,
  optionalClientCertificate,
  unknownCondition,
  httpOnTcp,
  emptyRule,
  negativeOnly,
  firstAllow,
  notARegex,
  subjectWithSlash,
  wrongSelector,
  selectsNothing,
  pathBypass,
  principalFormat,
  methodFormat,
  hostPortBypass,
  denyWithoutMtls,
  dryRun,
  claimsWithoutAuthentication,
  authenticationNotRequired,
  permissiveMtls,
  jwksByUrl,
  anyAudience,
  serviceEntryBypass,
  envoyFilterBypass,
  sidecarBypass,
  clientTlsDisabled,
  rbacBeyondGrant,
  rbacBypass,
];
