import type { ForeignPolicy } from '../mesh/mesh.ts';
import type { Metadata } from '../object/object.ts';
import type { AuthorizationPolicy } from '../object/security.ts';
import { isForSidecars, REVISION_LABEL, selectorOf } from '../object/selection.ts';
import { actionOf, isDryRun } from './authorization-policy.ts';

interface PolicyObject {
  readonly metadata: Pick<Metadata, 'name' | 'namespace' | 'labels' | 'annotations'>;
  readonly spec?: Pick<AuthorizationPolicy['spec'], 'action' | 'selector'> &
    Parameters<typeof isForSidecars>[0]['spec'];
}

/**
 * Converts an AuthorizationPolicy that Meshpass did not create into the compiler's format.
 * @returns the policy, or undefined unless every sidecar enforces it. If the compiler assumed that any other policy
 *   allows calls at sidecars, it would add an ALLOW policy of its own. This would be the first one there, and would
 *   therefore block all other callers
 * @example
 * ```ts
 * import { foreignPolicyOf } from '@meshpass/istio';
 * const metadata = { name: 'callers', namespace: 'shop' };
 * foreignPolicyOf({ metadata, spec: { action: 'DENY' } }); // => { name: 'callers', namespace: 'shop', action: 'DENY' }
 * foreignPolicyOf({ metadata, spec: { targetRefs: [{ kind: 'Gateway', name: 'waypoint' }] } }); // => undefined
 * ```
 */
export function foreignPolicyOf(policy: PolicyObject): ForeignPolicy | undefined {
  const { name, namespace, labels } = policy.metadata;
  if (!isForSidecars(policy) || isDryRun(policy) || labels?.[REVISION_LABEL] !== undefined) return undefined;
  const selector = selectorOf(policy);
  return { name, namespace, action: actionOf(policy), ...(selector && { selector }) };
}
