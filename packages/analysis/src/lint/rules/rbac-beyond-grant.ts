import { type GrantRole, matchesGlob } from '@meshpass/access/compile';
import type { RoleBinding } from '@meshpass/istio';
import { hasLabels, items } from '@meshpass/istio/members';
import { roleOf, whyTooMuch } from '../role-reach.ts';
import type { Rule } from '../rule.ts';
import type { MeshView } from '../view.ts';

const OURS = 'meshpass-';
const EVERYBODY = new Set(['system:authenticated', 'system:serviceaccounts', 'system:unauthenticated']);
/** Kubernetes binds these to everybody itself. */
const BUILT_IN = new Set([
  'system:basic-user',
  'system:discovery',
  'system:public-info-viewer',
  'system:service-account-issuer-discovery',
]);

/** A role for workspaces that the access file does not grant. */
export const rbacBeyondGrant: Rule = {
  code: 'MP601',
  name: 'rbac-beyond-grant',
  severity: 'error',
  title: 'Kubernetes roles reach further than the grants',
  fix: 'Write the role into the access file (`kubernetes: {roles: [view@shop]}`) and let it be compiled, or remove the binding.',
  *check(view) {
    for (const binding of bindings(view)) {
      const role = binding.roleRef?.name ?? '';
      const where =
        binding.kind === 'ClusterRoleBinding' ? 'the whole cluster' : `namespace ${binding.metadata.namespace}`;
      for (const [index, subject] of items(binding.subjects).entries()) {
        const path = ['subjects', index];
        const everybody = subject.kind === 'Group' && EVERYBODY.has(subject.name ?? '');
        const grant = grantOf(subject);
        if (everybody && !BUILT_IN.has(role) && (view.access || mayHarm(view, binding))) {
          yield {
            on: binding,
            path,
            message: `${subject.name} is every workspace too: each session gets ${role} in ${where}, whatever its grant says.`,
          };
        } else if (grant !== undefined) {
          const known = view.access?.grants.find((one) => one.name === grant);
          if (binding.kind === 'ClusterRoleBinding') {
            yield {
              on: binding,
              path,
              message: `sessions of grant ${grant} get ${role} in the whole cluster; a grant gives roles in namespaces only.`,
            };
          } else if (view.access && !known) {
            yield {
              on: binding,
              path,
              message: `there is no grant ${grant}: ${role} in ${where} is given to whoever makes its namespace.`,
            };
          } else if (
            known &&
            !known.kubernetesRoles.some((one) => one.role === role && isGivenIn(view, one, binding.metadata.namespace))
          ) {
            yield {
              on: binding,
              path,
              message: `grant ${grant} does not give ${role} in ${where}, and this binding does.`,
            };
          }
        }
      }
    }
  },
};

export function bindings(view: MeshView): readonly RoleBinding[] {
  return [
    ...(view.of('RoleBinding') as readonly RoleBinding[]),
    ...(view.of('ClusterRoleBinding' as 'RoleBinding') as readonly RoleBinding[]),
  ];
}

/** Whether an entry gives its role in a namespace. Labels of a namespace that is not among the files may be the ones asked for. */
function isGivenIn(view: MeshView, given: GrantRole, namespace: string): boolean {
  if (given.namespace !== undefined && !matchesGlob(given.namespace, namespace)) return false;
  const wanted = given.namespaceLabels ?? {};
  return hasLabels(wanted, view.namespaceLabels(namespace)) || (!view.complete && !view.knowsNamespace(namespace));
}

/** Without grants to compare with: whether a role is unknown, or gives more than to look. */
function mayHarm(view: MeshView, binding: RoleBinding): boolean {
  const role = roleOf(view, binding);
  return !role || items(role.rules).some((rule) => whyTooMuch(rule) !== undefined);
}

/** The grant whose sessions are meant by a subject: the group of its namespace, or a ServiceAccount in it. */
export function grantOf(subject: {
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
}): string | undefined {
  const namespace =
    subject.kind === 'Group' && subject.name?.startsWith('system:serviceaccounts:')
      ? subject.name.slice('system:serviceaccounts:'.length)
      : subject.kind === 'ServiceAccount'
        ? subject.namespace
        : undefined;
  return namespace?.startsWith(OURS) && namespace !== `${OURS}system` ? namespace.slice(OURS.length) : undefined;
}
