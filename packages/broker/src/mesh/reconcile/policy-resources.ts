/**
 * Reads all objects that a plan depends on. They are listed rather than taken from watches, so that they are never
 * older than the request.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Kubernetes, ListedObject } from '../kubernetes/kubernetes.ts';
import { apiVersionOf } from '../kubernetes/resources.ts';
import { OURS } from './revocation/deny-policy.ts';

const KINDS = [
  ...['Service', 'Pod', 'Namespace', 'AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'],
  // These objects define the roles that a grant can provide, and their permissions.
  ...['RoleBinding', 'ClusterRole'],
  // These objects sit in front of workloads or can route traffic to targets outside a grant. A plan reports any objects
  // that it does not understand.
  ...['Gateway', 'DestinationRule', 'ServiceEntry', 'Sidecar', 'EnvoyFilter', 'WasmPlugin', 'TrafficExtension'],
  'VirtualService',
];

/**
 * Lists all objects in the cluster that a plan depends on.
 * @throws MeshpassError `policy_forbidden` if the broker is not allowed to list some of them, `kubernetes_unavailable`
 */
export async function readPolicyResources(kubernetes: Pick<Kubernetes, 'list'>): Promise<readonly ListedObject[]> {
  const lists = await Promise.all(
    KINDS.map(async (kind) => {
      const selector = kind === 'RoleBinding' ? OURS : '';
      return await kubernetes.list(kind, selector).catch((thrown) => noneIfNotInstalled(kind, thrown));
    }),
  );
  return lists.flat();
}

/**
 * Handles an error from listing a kind. Returns an empty list if the installed version of Istio does not have that
 * kind.
 * @throws MeshpassError `policy_forbidden` if the broker is not allowed to list the kind; any other error unchanged
 */
function noneIfNotInstalled(kind: string, thrown: unknown): readonly [] {
  const error = toMeshpassError(thrown);
  const { status } = error.detail as { readonly status?: unknown };
  if (status === 404) return [];
  if (status !== 403) throw thrown;
  throw new MeshpassError(
    'policy_forbidden',
    `Kubernetes does not allow the broker to list ${kind} objects (${apiVersionOf(kind)}), which plans depend on. ` +
      "Upgrade the broker's rights to those of this version's chart (ClusterRole meshpass-broker); `meshpass check` " +
      'lists missing rights.',
    { cause: error },
  );
}
