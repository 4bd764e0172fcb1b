import { type GrantRole, matchesGlob } from '@meshpass/access/compile';
import { type RoleBinding, selects } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { roleOf, whyTooMuch } from '../role-reach.ts';
import type { Rule } from '../rule.ts';

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
  title: 'Kubernetes roles give more than the grants',
  fix: 'Write the role into the access file (`kubernetes: {roles: [view@shop]}`) and let it be compiled, or remove the binding.',
  *check(context) {
    for (const binding of bindings(context)) {
      const role = binding.roleRef?.name ?? '';
      const where =
        binding.kind === 'ClusterRoleBinding' ? 'the whole cluster' : `namespace ${binding.metadata.namespace}`;
      for (const [index, subject] of items(binding.subjects).entries()) {
        const path = ['subjects', index];
        const everybody = subject.kind === 'Group' && EVERYBODY.has(subject.name ?? '');
        const grant = grantOf(subject);
        if (everybody && !BUILT_IN.has(role) && (context.access || mayHarm(context, binding))) {
          yield {
            on: binding,
            path,
            message: `${subject.name} includes every workspace: each session gets ${role} in ${where}, whatever its grant says.`,
          };
        } else if (grant !== undefined) {
          const known = context.access?.grants.find((one) => one.name === grant);
          if (binding.kind === 'ClusterRoleBinding') {
            yield {
              on: binding,
              path,
              message: `sessions of grant ${grant} get ${role} in the whole cluster; a grant gives roles in namespaces only.`,
            };
          } else if (context.access && !known) {
            yield {
              on: binding,
              path,
              message: `there is no grant ${grant}: ${role} in ${where} is given to anyone who can create its namespace.`,
            };
          } else if (
            known &&
            !known.kubernetesRoles.some(
              (one) => one.role === role && isGivenIn(context, one, binding.metadata.namespace),
            )
          ) {
            yield {
              on: binding,
              path,
              message: `grant ${grant} does not give ${role} in ${where}, but this binding does.`,
            };
          }
        }
      }
    }
  },
};

export function bindings(context: LintContext): readonly RoleBinding[] {
  return [
    ...(context.mesh.all('RoleBinding') as readonly RoleBinding[]),
    ...(context.mesh.all('ClusterRoleBinding' as 'RoleBinding') as readonly RoleBinding[]),
  ];
}

/** Whether an entry gives its role in a namespace. Labels of a namespace that is not among the files may be the ones asked for. */
function isGivenIn(context: LintContext, given: GrantRole, namespace: string): boolean {
  if (given.namespace !== undefined && !matchesGlob(given.namespace, namespace)) return false;
  const labels = context.mesh.namespaceLabels(namespace);
  return selects(given.namespaceLabels, labels ?? {}) || (!context.complete && labels === undefined);
}

/** Without grants to compare with: whether a role is unknown, or gives more than to look. */
function mayHarm(context: LintContext, binding: RoleBinding): boolean {
  const role = roleOf(context.mesh, binding);
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
