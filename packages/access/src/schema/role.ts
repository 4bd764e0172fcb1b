/** ClusterRoles that the access file may assign. */
import { isDnsLabel } from '@meshpass/identity';
import { invalid, type Parsed, unanchored } from '../problem.ts';

/** Parses `CLUSTERROLE@NAMESPACE`. */
export function parseRole(text: string): Parsed<{ readonly role: string; readonly namespace: string }> {
  const [role, namespace, ...rest] = text.split('@');
  if (text.includes('*'))
    return unanchored(
      `${JSON.stringify(text)}: a role in this form is granted by its exact name; for a pattern of namespaces, use {role: ..., namespace: ...}`,
    );
  if (!role || !namespace || rest.length > 0 || !isDnsLabel(namespace)) {
    return invalid(`${JSON.stringify(text)} is not a valid role: use CLUSTERROLE@NAMESPACE, as in view@shop`);
  }
  const named = parseRoleName(role);
  if ('message' in named) return named;
  if (namespace === 'kube-system')
    return invalid(
      'kube-system holds the keys of the cluster, so grants cannot bind roles there: use a different namespace',
    );
  return { value: { role, namespace } };
}

const ROLE_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Parses the name of a ClusterRole that workspaces may have. */
export function parseRoleName(role: string): Parsed<string> {
  if (role === 'cluster-admin' || role.startsWith('system:')) {
    return invalid(
      `${JSON.stringify(role)} is reserved for Kubernetes and cannot be granted to workspaces: use view, edit or your own role`,
    );
  }
  return ROLE_NAME.test(role) ? { value: role } : invalid(`${JSON.stringify(role)} is not a valid ClusterRole name`);
}
