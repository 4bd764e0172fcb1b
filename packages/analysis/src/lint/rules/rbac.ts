/** Defines rules about the Kubernetes roles of workspaces. */
import {
  type GrantRole,
  KUBERNETES_POWERS,
  type KubernetesPower,
  matchesGlob,
  powersOf,
} from '@meshpass/access/compile';
import { type MeshView, type RbacRule, type Role, type RoleBinding, selects } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { describeObject } from '../../exposure/describe.ts';
import type { LintContext } from '../context.ts';
import { itemsOf } from '../parts.ts';
import { each, type Rule } from '../rule.ts';

const OURS = 'meshpass-';
const EVERYBODY = new Set(['system:authenticated', 'system:serviceaccounts', 'system:unauthenticated']);
/** The roles that Kubernetes itself binds to all users. */
const BUILT_IN = new Set([
  'system:basic-user',
  'system:discovery',
  'system:public-info-viewer',
  'system:service-account-issuer-discovery',
]);

type Subject = NonNullable<RoleBinding['subjects']>[number];

/** Reports workspaces that have a role that the access file does not grant them. */
const rbacBeyondGrant: Rule = {
  code: 'MP601',
  name: 'rbac-beyond-grant',
  severity: 'error',
  title: 'Kubernetes roles allow more than the grants',
  fix: 'Add the role to the access file (`kubernetes: {roles: [view@shop]}`), which compiles it, or remove the binding.',
  check: each(
    (context) => bindings(context).flatMap((on) => itemsOf(on, ['subjects'], on.subjects)),
    ({ on, value }, context) => {
      const message = whyBeyond(context, on, value);
      return message === undefined ? undefined : { message };
    },
  ),
};

function whyBeyond(context: LintContext, binding: RoleBinding, subject: Subject): string | undefined {
  const role = binding.roleRef?.name ?? '';
  const { namespace } = binding.metadata;
  const inCluster = binding.kind === 'ClusterRoleBinding';
  const where = inCluster ? 'the whole cluster' : `namespace ${namespace}`;
  const everybody = subject.kind === 'Group' && EVERYBODY.has(subject.name ?? '');
  if (everybody && !BUILT_IN.has(role) && (context.access || mayHarm(context, binding)))
    return `${subject.name} includes every workspace: each session receives ${role} in ${where}, regardless of its grant.`;
  const grant = grantOf(subject);
  if (grant === undefined) return undefined;
  if (inCluster)
    return `sessions of grant ${grant} receive ${role} in the whole cluster; a grant includes roles only in namespaces.`;
  if (!context.access) return undefined;
  const known = context.access.grants.find((one) => one.name === grant);
  if (!known) return `grant ${grant} does not exist: anyone who can create its namespace receives ${role} in ${where}.`;
  return known.kubernetesRoles.some((one) => one.role === role && isGivenIn(context, one, namespace))
    ? undefined
    : `grant ${grant} does not include ${role} in ${where}, but this binding grants it.`;
}

function bindings({ mesh }: LintContext): readonly RoleBinding[] {
  return [...mesh.all('RoleBinding'), ...mesh.all('ClusterRoleBinding')];
}

/**
 * Checks whether a grant's role applies in a namespace. If the Namespace is not in the files, its labels are assumed to
 * match.
 */
function isGivenIn(context: LintContext, given: GrantRole, namespace: string): boolean {
  if (given.namespace !== undefined && !matchesGlob(given.namespace, namespace)) return false;
  const labels = context.mesh.namespaceLabels(namespace);
  return selects(given.namespaceLabels, labels ?? {}) || (!context.complete && labels === undefined);
}

/**
 * Checks whether a role is unknown or allows more than reading. This is used when there are no grants to compare with.
 */
function mayHarm(context: LintContext, binding: RoleBinding): boolean {
  const role = roleOf(context.mesh, binding);
  return !role || items(role.rules).some((rule) => bypassOf(rule) !== undefined);
}

/** Returns the role that a binding refers to, or undefined if it is not in the files. */
function roleOf(mesh: MeshView, { roleRef, metadata }: RoleBinding): Role | undefined {
  return mesh
    .all(roleRef?.kind as Role['kind'])
    .find(
      (one) =>
        one.metadata.name === roleRef?.name &&
        (one.kind === 'ClusterRole' || one.metadata.namespace === metadata.namespace),
    );
}

/** The powers with which the holders of a role can extend their own access. */
const BYPASSES: readonly KubernetesPower[] = [
  ...(['policies', 'rbac', 'token-requests', 'secrets', 'exec', 'attach', 'port-forward', 'impersonate'] as const),
];

/** Describes how a rule can be used to bypass grants. Returns undefined if it cannot. */
function bypassOf(rule: RbacRule): string | undefined {
  const { powers, unknown } = powersOf({ name: '', rules: [rule] }, []);
  if (unknown !== undefined) return 'do anything, because Meshpass cannot interpret this rule';
  const bypass = BYPASSES.find((power) => powers.has(power));
  return bypass && KUBERNETES_POWERS[bypass];
}

/**
 * Returns the grant whose sessions a subject includes. The subject can be the group of all ServiceAccounts in the
 * grant's namespace, or a single ServiceAccount in it.
 */
function grantOf(subject: Subject): string | undefined {
  const namespace =
    subject.kind === 'Group' && subject.name?.startsWith('system:serviceaccounts:')
      ? subject.name.slice('system:serviceaccounts:'.length)
      : subject.kind === 'ServiceAccount'
        ? subject.namespace
        : undefined;
  return namespace?.startsWith(OURS) && namespace !== `${OURS}system` ? namespace.slice(OURS.length) : undefined;
}

/** Reports roles that allow workspaces to extend their own access. */
const rbacBypass: Rule = {
  code: 'MP602',
  name: 'rbac-bypass',
  severity: 'error',
  title: 'A role of workspaces can change policies, issue tokens or read Secrets',
  fix: 'Use a role without these rights: `view` cannot read Secrets or change anything.',
  *check(context) {
    const said = new Set<string>();
    for (const binding of bindings(context)) {
      const grant = items(binding.subjects)
        .map(grantOf)
        .find((one) => one !== undefined);
      if (grant === undefined) continue;
      const role = roleOf(context.mesh, binding);
      for (const [index, rule] of items(role?.rules).entries()) {
        const bypass = bypassOf(rule);
        const once = `${describeObject(role!)} ${index}`;
        if (!bypass || said.has(once)) continue;
        said.add(once);
        yield {
          on: role!,
          path: ['rules', index],
          message: `sessions of grant ${grant}, which have this role through ${describeObject(binding)}, can ${bypass}.`,
        };
      }
    }
  },
};

export const RBAC_RULES: readonly Rule[] = [rbacBeyondGrant, rbacBypass];
