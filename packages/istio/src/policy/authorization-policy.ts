/** What an AuthorizationPolicy does as a whole, whatever its rules say. Source: pilot/pkg/security/authz/builder of Istio 1.31. */

import type { MeshConfig } from '../mesh/mesh-config.ts';
import type { Metadata } from '../object/object.ts';
import type { AuthorizationAction, AuthorizationPolicy } from '../object/security.ts';

export const DRY_RUN = 'istio.io/dry-run';

/** What Go's `strconv.ParseBool` takes for true. */
const TRUE: readonly unknown[] = ['1', 't', 'T', 'TRUE', 'true', 'True'];

/**
 * Whether an AuthorizationPolicy is in dry run: its effect is only logged. A value that is no boolean to Go (`yes`, `on`, `tRUE`) leaves
 * the policy in force. No other kind has a dry run: ask of AuthorizationPolicies only. Source: `isDryRun` in builder.go.
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
 * The action of a policy; ALLOW where it names none, as in the API's enumeration.
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
  readonly spec?: { readonly action?: AuthorizationAction | undefined } | undefined;
}): AuthorizationAction {
  return spec?.action ?? 'ALLOW';
}

/** What becomes of a call that a CUSTOM policy matches: its authorizer is asked, the proxy refuses by itself, or nothing. */
export type CustomEffect = 'asked' | 'refused' | 'nothing';

/**
 * How each of a proxy's CUSTOM policies works, as istiod 1.31 writes them. A provider that the mesh does not know, or several
 * providers on one workload, refuse whatever matches; a policy in dry run refuses, too, where it is the mesh's only one and the mesh
 * knows its provider. Providers that speak HTTP are not asked about connections that are not HTTP.
 * @param policies the CUSTOM policies of one proxy
 * @param authorizers of the mesh's configuration; undefined where it is not known, and any provider may be
 * @param protocol by which rules the call is judged
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
 * Name of the extension provider that a CUSTOM policy leaves calls to.
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
