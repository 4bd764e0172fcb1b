/**
 * The effect of an AuthorizationPolicy as a whole, regardless of its rules, and the source fields of rules. Source:
 * pilot/pkg/security/authz/builder of Istio 1.31.
 */

import type { MeshConfig } from '../mesh/mesh-config.ts';
import type { Metadata } from '../object/object.ts';
import type { AuthorizationAction, AuthorizationPolicy } from '../object/security.ts';

export const DRY_RUN = 'istio.io/dry-run';

/** The strings that Go's `strconv.ParseBool` parses as true. */
const TRUE: readonly unknown[] = ['1', 't', 'T', 'TRUE', 'true', 'True'];

/**
 * Whether an AuthorizationPolicy is in dry-run mode, in which its effect is only logged. If Go cannot parse the
 * annotation as a boolean (`yes`, `on`, `tRUE`), the policy is enforced. Other kinds do not support dry runs, so only
 * call this for AuthorizationPolicies. Source: `isDryRun` in builder.go.
 * @example
 * ```ts
 * import { DRY_RUN, isDryRun } from '@meshpass/istio';
 * isDryRun({ metadata: { annotations: { [DRY_RUN]: 'true' } } }); // => true
 * isDryRun({ metadata: { annotations: { [DRY_RUN]: 'yes' } } }); // => false
 * ```
 */
export function isDryRun({ metadata }: { readonly metadata: Pick<Metadata, 'annotations'> }): boolean {
  return TRUE.includes(metadata.annotations?.[DRY_RUN]);
}

/**
 * Returns a policy's action. Defaults to ALLOW, as in the API.
 * @example
 * ```ts
 * import { actionOf } from '@meshpass/istio';
 * actionOf({ spec: { action: 'DENY' } }); // => 'DENY'
 * actionOf({}); // => 'ALLOW'
 * ```
 */
export function actionOf({
  spec,
}: {
  readonly spec?: Pick<AuthorizationPolicy['spec'], 'action'>;
}): AuthorizationAction {
  return spec?.action ?? 'ALLOW';
}

/**
 * The effect of a CUSTOM policy on a matching call. The proxy either asks the authorizer (`asked`), rejects the call
 * without asking (`refused`), or does nothing.
 */
export type CustomEffect = 'asked' | 'refused' | 'nothing';

/**
 * Determines the effect of each CUSTOM policy of a proxy in istiod 1.31. A policy rejects every matching call if the
 * mesh does not know its provider, or if the workload has more than one provider. A policy in dry-run mode also rejects
 * calls if it is the only one and the mesh knows its provider. HTTP providers are not called for connections that are
 * not HTTP.
 * @param policies the CUSTOM policies of one proxy
 * @param authorizers the authorizers in the mesh configuration. If undefined, any provider may exist
 * @param protocol the protocol whose rules apply to the call
 * @example
 * ```ts
 * import { customEffects, loadManifests, ofKind } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ask, namespace: shop},
 *   spec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}}`;
 * const policies = ofKind(loadManifests(policy, 'ask.yaml').resources, 'AuthorizationPolicy');
 * customEffects(policies, [{ name: 'opa', protocol: 'grpc' }], 'http')(policies[0]!); // => 'asked'
 * customEffects(policies, [], 'http')(policies[0]!); // => 'refused'
 * ```
 */
export function customEffects(
  policies: readonly AuthorizationPolicy[],
  authorizers: MeshConfig['authorizers'] | undefined,
  protocol: 'http' | 'tcp',
): (policy: AuthorizationPolicy) => CustomEffect {
  const several = new Set(policies.map(providerOf)).size > 1;
  const speaks = new Map(authorizers?.map((one) => [one.name, one.protocol]));
  return (policy) => {
    const spoken = speaks.get(providerOf(policy));
    if (isDryRun(policy)) {
      const enforced = !several && spoken !== undefined && (protocol === 'http' || spoken === 'grpc');
      return enforced ? 'refused' : 'nothing';
    }
    if (several) return 'refused';
    if (protocol === 'tcp' && spoken === 'http') return 'nothing';
    return spoken === undefined && authorizers ? 'refused' : 'asked';
  };
}

/**
 * Returns the name of the extension provider that a CUSTOM policy delegates to.
 * @example
 * ```ts
 * import { loadManifests, ofKind, providerOf } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ask, namespace: shop},
 *   spec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}}`;
 * ofKind(loadManifests(policy, 'ask.yaml').resources, 'AuthorizationPolicy').map(providerOf); // => ['opa']
 * ```
 */
export function providerOf({ spec }: AuthorizationPolicy): string {
  return spec.provider?.name ?? '';
}

/** The source fields of rules in AuthorizationPolicies, each with the equivalent condition key (`when`). */
export const SOURCE_FIELDS = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['requestPrincipals', 'notRequestPrincipals', 'request.auth.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['remoteIpBlocks', 'notRemoteIpBlocks', 'remote.ip'],
] as const;
