/**
 * Builds the DENY policies in the root namespace for sessions that have ended and grants that were removed. The broker
 * writes them in addition to the compiled policies and keeps them until the last affected SVID has expired.
 */
import { MANAGED_BY, MANAGED_BY_LABEL, type Manifest } from '@meshpass/access';

/**
 * The label that distinguishes these policies from compiled ones. Compiled policies are removed when the access file no
 * longer needs them.
 */
const COMPONENT_LABEL = 'app.kubernetes.io/component';
const REVOCATION = 'revocation';
export const OURS = `${MANAGED_BY_LABEL}=${MANAGED_BY}`;
export const REVOCATIONS = `${OURS},${COMPONENT_LABEL}=${REVOCATION}`;
export const COMPILED_POLICY_SELECTOR = `${OURS},${COMPONENT_LABEL}!=${REVOCATION}`;

/**
 * Builds a DENY policy that rejects all requests from a source.
 * @param source a source as defined by Istio's AuthorizationPolicy, with `principals` or `namespaces`. An empty list
 *   does not deny anything.
 */
export function denyPolicy(
  name: string,
  namespace: string,
  source: { readonly principals: readonly string[] } | { readonly namespaces: readonly string[] },
  annotations?: Readonly<Record<string, string>>,
): Manifest {
  const labels = { [MANAGED_BY_LABEL]: MANAGED_BY, [COMPONENT_LABEL]: REVOCATION };
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace, labels, ...(annotations && { annotations }) },
    spec: { action: 'DENY', rules: [{ from: [{ source }] }] },
  };
}
