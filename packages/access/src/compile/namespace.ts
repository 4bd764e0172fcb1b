/** Namespace of a grant's ServiceAccounts, and their Kubernetes roles. */
import type { Manifest } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant } from './resolve.ts';

/** Compiles a grant's namespace. */
export function grantNamespaceManifest({ grant, namespace }: ResolvedGrant): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: metadata(namespace, undefined, { grant: grant.name }),
  };
}

/**
 * Compiles the RoleBindings for the group of all ServiceAccounts in the grant's namespace (Kubernetes: Referring to
 * subjects, system:serviceaccounts:NAMESPACE).
 */
export function roleBindings({ grant, namespace, roles }: ResolvedGrant): Manifest[] {
  return roles.map((role) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    // Grant names contain no dot, so no two pairs of grant and role share a name.
    metadata: metadata(`${namespace}.${role.role}`, role.namespace, { grant: grant.name }),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role.role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: `system:serviceaccounts:${namespace}` }],
  }));
}
