/** What of a Kubernetes role would let its holder make his own access. */

import type { MeshView, RbacRule, Role, RoleBinding } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';

const WRITES = ['*', 'create', 'update', 'patch', 'delete', 'deletecollection'];

/** The role that a binding gives, where it is among the files. */
export function roleOf(mesh: MeshView, { roleRef, metadata }: RoleBinding): Role | undefined {
  const roles = mesh.all(roleRef?.kind as 'Role') as unknown as readonly Role[];
  return roles.find(
    (one) =>
      one.metadata.name === roleRef?.name &&
      (one.kind === 'ClusterRole' || one.metadata.namespace === metadata.namespace),
  );
}

/** Why a rule is too much for somebody whose access is granted elsewhere; undefined: it is not. */
export function whyTooMuch(rule: RbacRule): string | undefined {
  const [groups, resources, verbs] = [texts(rule.apiGroups), texts(rule.resources), texts(rule.verbs)];
  const has = (group: string, ...names: string[]) =>
    (groups.includes('*') || groups.includes(group)) &&
    (resources.includes('*') || names.some((one) => resources.includes(one)));
  const may = (...any: string[]) => any.some((one) => verbs.includes(one)) || verbs.includes('*');
  const writes = may(...WRITES);
  if (verbs.includes('*') && resources.includes('*')) return 'can do everything there';
  if (has('security.istio.io', 'authorizationpolicies', 'peerauthentications', 'requestauthentications') && writes)
    return "can change the mesh's policies, including their own";
  if (has('networking.istio.io', 'virtualservices', 'gateways', 'envoyfilters', 'serviceentries') && writes)
    return 'can route around the policies';
  if (
    has('rbac.authorization.k8s.io', 'roles', 'clusterroles', 'rolebindings', 'clusterrolebindings') &&
    (writes || may('bind', 'escalate'))
  )
    return 'can give themselves any role';
  if (has('', 'serviceaccounts/token') && may('create'))
    return 'can issue tokens for every ServiceAccount there, and so get its certificate';
  if (has('', 'secrets') && may('get', 'list', 'watch')) return 'can read every Secret there';
  if (has('', 'pods/exec', 'pods/attach', 'pods/portforward') && may('create', 'get'))
    return 'can enter Pods without the mesh';
  return has('', 'users', 'groups', 'serviceaccounts') && verbs.includes('impersonate')
    ? 'can impersonate others'
    : undefined;
}
