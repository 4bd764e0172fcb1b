/** Per grant: the namespace of its ServiceAccounts, and what these may do in Kubernetes. */
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

export function grantNamespaceManifest({ grant, namespace }: ResolvedGrant): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: metadata(namespace, undefined, { grant: grant.name, source: grant.place }),
  };
}

/** The group of all ServiceAccounts of the grant's namespace (Kubernetes: Referring to subjects, system:serviceaccounts:NAMESPACE). */
export function roleBindings({ grant, namespace, roles }: ResolvedGrant): Manifest[] {
  return roles.map((role) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    // A dot stands in no grant's name, so that no two pairs of grant and role share a name.
    metadata: metadata(`${namespace}.${role.role}`, role.namespace, { grant: grant.name, source: role.place }),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role.role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: `system:serviceaccounts:${namespace}` }],
  }));
}
