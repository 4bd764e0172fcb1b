/** The ClusterRoles that the access file may give. */
import { isDnsLabel } from '@meshpass/identity';
import type { KubernetesPower } from '../model.ts';
import { invalid, type Parsed } from '../problem.ts';

/** `CLUSTERROLE@NAMESPACE`. */
export function parseRole(text: string): Parsed<{ readonly role: string; readonly namespace: string }> {
  const [role, namespace, ...rest] = text.split('@');
  if (text.includes('*')) {
    return {
      code: 'access_file_pattern_unanchored',
      message: `${JSON.stringify(text)}: roles are granted one by one, by name; {role: ..., namespace: ...} takes a pattern`,
    };
  }
  if (!role || !namespace || rest.length > 0 || !isDnsLabel(namespace)) {
    return invalid(`${JSON.stringify(text)} is no role: write CLUSTERROLE@NAMESPACE, as in view@shop`);
  }
  const named = parseRoleName(role);
  if ('message' in named) return named;
  if (namespace === 'kube-system') return invalid('kube-system holds the keys of the cluster: no role is given there');
  return { value: { role, namespace } };
}

const ROLE_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Name of a ClusterRole that may be given to workspaces. */
export function parseRoleName(role: string): Parsed<string> {
  if (role === 'cluster-admin' || role.startsWith('system:')) {
    return invalid(
      `${JSON.stringify(role)} is Kubernetes' own and is not given to workspaces: use view, edit or a role of yours`,
    );
  }
  return ROLE_NAME.test(role) ? { value: role } : invalid(`${JSON.stringify(role)} is no name of a ClusterRole`);
}

/**
 * What a ClusterRole may hold beside reading and changing objects, each named in `kubernetes.allow` or refused: a way around the
 * mesh, somebody else's identity, or access that outlives the session.
 */
export const KUBERNETES_POWERS: Readonly<Record<KubernetesPower, string>> = {
  exec: 'run commands in Pods',
  attach: 'attach to processes of Pods',
  'port-forward': 'connect to ports of Pods past the mesh',
  proxy: 'connect to Pods and Services through the API server, past the mesh',
  secrets: 'read or write Secrets',
  'token-requests': 'get tokens of other ServiceAccounts',
  impersonate: 'act as somebody else',
  workloads: 'run Pods, which can have any ServiceAccount and mount any Secret of the namespace',
  rbac: 'give roles to others, which outlive the session (also escalate and bind)',
  policies: 'change policies and routes of the mesh or the network, Services, or the labels of namespaces',
  'custom-resources': 'change objects of API groups of which it is not known what they make others do',
  wildcards: 'everything that a "*" in its rules matches, also what is added to the cluster later',
};
