/**
 * The root-namespace DENY policies that the broker writes by itself, beside those that the access file compiles to:
 * whose session is over, and what grant has gone. They hold until the last SVID concerned has expired.
 */
import { MANAGED_BY, MANAGED_BY_LABEL, type Manifest } from '@meshpass/access';

/** Tells these policies from compiled ones, which are removed as soon as the access file no longer asks for them. */
export const COMPONENT = 'app.kubernetes.io/component';
export const REVOCATION = 'revocation';
export const OURS = `${MANAGED_BY_LABEL}=${MANAGED_BY}`;
export const REVOCATIONS = `${OURS},${COMPONENT}=${REVOCATION}`;
export const COMPILED = `${OURS},${COMPONENT}!=${REVOCATION}`;

/** @param source of Istio's AuthorizationPolicy: `principals` or `namespaces`; must not be empty, or it denies nobody */
export function denyPolicy(
  name: string,
  namespace: string,
  source: { readonly principals: readonly string[] } | { readonly namespaces: readonly string[] },
  annotations?: Readonly<Record<string, string>>,
): Manifest {
  const labels = { [MANAGED_BY_LABEL]: MANAGED_BY, [COMPONENT]: REVOCATION };
  return {
    ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
    metadata: { name, namespace, labels, ...(annotations && { annotations }) },
    spec: { action: 'DENY', rules: [{ from: [{ source }] }] },
  };
}
