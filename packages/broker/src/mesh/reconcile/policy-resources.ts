/** Reads all objects that a plan depends on. Lists them instead of using watches, so that none predates the request. */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Kubernetes, ListedObject } from '../kubernetes/kubernetes.ts';
import { apiVersionOf } from '../kubernetes/resources.ts';
import { OURS } from './revocation/deny-policy.ts';

const KINDS = [
  ...['Service', 'Pod', 'Namespace', 'AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'],
  // Roles that a grant may provide, and their permissions.
  ...['RoleBinding', 'ClusterRole'],
  // Objects in front of workloads, and routes to targets outside a grant. A plan reports the objects that it does not
  // understand.
  ...['Gateway', 'DestinationRule', 'ServiceEntry', 'Sidecar', 'EnvoyFilter', 'WasmPlugin', 'TrafficExtension'],
  'VirtualService',
];

/**
 * Lists the objects.
 * @throws MeshpassError `policy_forbidden` if the broker may not list some of them, `kubernetes_unavailable`
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
 * Returns an empty list if the installed version of Istio does not have the kind.
 * @throws MeshpassError `policy_forbidden` if the broker may not list the kind; any other error unchanged
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
