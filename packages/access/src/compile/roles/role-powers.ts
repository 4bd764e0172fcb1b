/**
 * What a ClusterRole allows beside reading and changing objects. Kubernetes matches rules so: a star is everything,
 * a star before a subresource that subresource of everything, and the rest is compared as text (Kubernetes' RBAC authorizer,
 * k8s.io/component-helpers/auth/rbac/validation). Rules of a form that this does not know may mean anything.
 */
import { type MeshClusterRole, type RbacRule, selects } from '@meshpass/istio';
import type { Access, KubernetesPower } from '../../model.ts';
import { type AccessFileProblem, accessFileError } from '../../problem.ts';
import { KUBERNETES_POWERS } from '../../schema/role.ts';

export interface RolePowers {
  readonly powers: ReadonlySet<KubernetesPower>;
  /** Why its rules are not understood; it may allow anything then. */
  readonly unknown?: string;
}

const WRITES = ['create', 'update', 'patch'];
const CHANGES = [...WRITES, 'delete', 'deletecollection'];

/**
 * Resource by API group, with the verbs that make it a power; without verbs, any verb does. To delete is to read: with `dryRun`, or
 * with `propagationPolicy`, the API server answers with the objects, and `deletecollection` needs no name. A proxy passes DELETE on.
 */
const POWERFUL: readonly (readonly [KubernetesPower, group: string, resources: string, verbs?: readonly string[]])[] = [
  ['exec', '', 'pods/exec'],
  ['exec', '', 'pods/ephemeralcontainers', WRITES],
  ['attach', '', 'pods/attach'],
  ['port-forward', '', 'pods/portforward'],
  ['proxy', '', 'pods/proxy services/proxy nodes/proxy'],
  ['secrets', '', 'secrets'],
  ['token-requests', '', 'serviceaccounts/token'],
  ['workloads', '', 'pods pods/binding bindings replicationcontrollers podtemplates', WRITES],
  ['workloads', 'apps', 'deployments statefulsets daemonsets replicasets controllerrevisions', WRITES],
  ['workloads', 'batch', 'jobs cronjobs', WRITES],
  ['rbac', 'rbac.authorization.k8s.io', 'roles rolebindings clusterroles clusterrolebindings', WRITES],
  ['policies', 'networking.k8s.io', 'networkpolicies ingresses', CHANGES],
  // Labels of a namespace choose its sidecars, its Pod security and what grants select; a RoleBinding in it does allow to change them.
  ['policies', '', 'namespaces namespaces/status namespaces/finalize', CHANGES],
  // Who gets the traffic of a name. Kubernetes took endpoints from `edit` for CVE-2021-25740; of a Pod, the status has the address.
  ['policies', '', 'services services/status endpoints pods/status', WRITES],
  ['policies', 'discovery.k8s.io', 'endpointslices', WRITES],
  ['workloads', 'extensions', 'deployments daemonsets replicasets', WRITES],
  ['policies', 'extensions', 'networkpolicies ingresses', CHANGES],
];
/** Groups all of whose kinds decide who reaches what. */
const POLICY_GROUPS = [
  ...['security.istio.io', 'networking.istio.io', 'extensions.istio.io', 'telemetry.istio.io'],
  ...['gateway.networking.k8s.io', 'gateway.networking.x-k8s.io', 'policy.networking.k8s.io'],
  ...['cilium.io', 'crd.projectcalico.org', 'projectcalico.org'],
];
/** Kubernetes' own groups, whose kinds are above or are no power. What a change in any other does is its controllers' to say. */
const KNOWN_GROUPS = new Set([
  ...[
    '',
    'apps',
    'autoscaling',
    'batch',
    'extensions',
    'policy',
    'admissionregistration.k8s.io',
    'apiextensions.k8s.io',
  ],
  ...['apiregistration.k8s.io', 'authentication.k8s.io', 'authorization.k8s.io', 'certificates.k8s.io'],
  ...['coordination.k8s.io', 'discovery.k8s.io', 'events.k8s.io', 'flowcontrol.apiserver.k8s.io', 'metrics.k8s.io'],
  ...['networking.k8s.io', 'node.k8s.io', 'rbac.authorization.k8s.io', 'resource.k8s.io', 'scheduling.k8s.io'],
  ...['storage.k8s.io', ...POLICY_GROUPS],
]);
const READS = ['get', 'list', 'watch'];
/** Subresources that only show; others of unknown kinds may connect, as `get` of a console does. */
const SHOWN = ['status', 'scale', 'log'];
const IMPERSONATED = ['users', 'groups', 'serviceaccounts', 'userextras', 'uids'];

/**
 * What the rules of a ClusterRole allow.
 * @param all every ClusterRole that is known: an aggregated one has the rules of others
 * @example
 * ```ts
 * import { powersOf } from '@meshpass/access/compile';
 * const role = { name: 'debug', rules: [{ apiGroups: [''], resources: ['pods/exec'], verbs: ['create'] }] };
 * [...powersOf(role, [role]).powers]; // => ['exec']
 * ```
 */
export function powersOf(role: MeshClusterRole, all: readonly MeshClusterRole[]): RolePowers {
  const rules = rulesOf(role, all);
  if (typeof rules === 'string') return { powers: new Set(), unknown: rules };
  const powers = new Set<KubernetesPower>();
  for (const rule of rules) {
    if (!isRule(rule)) return { powers, unknown: 'one of its rules is malformed' };
    for (const power of powersOfRule(rule)) powers.add(power);
  }
  return { powers };
}

const KNOWN = new WeakMap<readonly MeshClusterRole[], ReadonlyMap<string, RolePowers>>();

/**
 * What each ClusterRole allows; where the cluster was not read, of those that every cluster has. Found once for
 * a list: every grant with roles asks, and a cluster has a hundred roles.
 * @param clusterRoles is not changed afterwards
 * @example
 * ```ts
 * import { knownRoles } from '@meshpass/access/compile';
 * [...knownRoles([]).keys()]; // => ['view', 'edit', 'admin']
 * ```
 */
export function knownRoles(clusterRoles: readonly MeshClusterRole[]): ReadonlyMap<string, RolePowers> {
  const found = KNOWN.get(clusterRoles);
  if (found) return found;
  const read = clusterRoles.map((role) => [role.name, powersOf(role, clusterRoles)] as const);
  const known = new Map([...DEFAULTS, ...read]);
  KNOWN.set(clusterRoles, known);
  return known;
}

/** Why a role is not given to a grant that allows this; undefined: it is. */
export function whyRefused(
  role: string,
  { powers, unknown }: RolePowers,
  allow: readonly KubernetesPower[],
): Pick<AccessFileProblem, 'code' | 'message'> | undefined {
  if (unknown !== undefined) {
    const message = `the ClusterRole ${role} is not understood (${unknown}), so it may allow anything: use a role of plain rules`;
    return { code: 'access_role_unknown', message };
  }
  const beyond = [...powers].filter((power) => !allow.includes(power));
  if (beyond.length === 0) return undefined;
  const what = beyond.map((power) => `${power} (${KUBERNETES_POWERS[power]})`).join(', ');
  const all = [...new Set([...allow, ...beyond])].join(', ');
  const message = `the ClusterRole ${role} allows ${what}: use a role that does not, or say kubernetes: {allow: [${all}]}`;
  return { code: 'access_role_powers', message };
}

/**
 * Checks the roles that every cluster has, where there is no cluster to ask.
 * @throws MeshpassError `access_role_powers` with all findings by FILE:LINE:COLUMN
 * @example
 * ```ts
 * import { checkKnownRoles, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], kubernetes: {roles: [view@shop]}}`, 'access.yaml');
 * checkKnownRoles(access);
 * ```
 */
export function checkKnownRoles(access: Access): void {
  const problems = access.grants.flatMap(({ kubernetesRoles, kubernetesAllow = [] }) =>
    kubernetesRoles.flatMap(({ role, place }): AccessFileProblem[] => {
      const powers = DEFAULTS.get(role);
      const refused = powers && whyRefused(role, powers, kubernetesAllow);
      return refused ? [{ ...refused, place }] : [];
    }),
  );
  if (problems.length > 0) throw accessFileError(problems);
}

/** What Kubernetes makes itself (plugin/pkg/auth/authorizer/rbac/bootstrappolicy): `view` shows no Secrets, `edit` runs Pods. */
const EDIT: readonly KubernetesPower[] = [
  ...(['exec', 'attach', 'port-forward', 'proxy', 'secrets', 'token-requests', 'impersonate'] as const),
  ...(['workloads', 'policies'] as const),
];
const DEFAULTS: ReadonlyMap<string, RolePowers> = new Map([
  ['view', { powers: new Set<KubernetesPower>() }],
  ['edit', { powers: new Set(EDIT) }],
  ['admin', { powers: new Set<KubernetesPower>([...EDIT, 'rbac']) }],
]);

/** Its own rules and, where it is aggregated, those of the roles that it selects; or why they cannot be told. */
function rulesOf(role: MeshClusterRole, all: readonly MeshClusterRole[]): readonly RbacRule[] | string {
  const own = role.rules ?? [];
  if (!Array.isArray(own)) return 'its rules are malformed';
  if (role.aggregationRule === undefined) return own;
  const selectors = (role.aggregationRule as { readonly clusterRoleSelectors?: unknown } | null)?.clusterRoleSelectors;
  if (!Array.isArray(selectors)) return 'its aggregationRule is malformed';
  const rules: RbacRule[] = [...own];
  for (const selector of selectors) {
    const { matchLabels, ...rest } = (selector ?? {}) as { readonly matchLabels?: unknown };
    if (!isLabels(matchLabels) || Object.keys(rest).length > 0) return 'its aggregationRule selects by expressions';
    for (const other of all) {
      if (other.name === role.name || !selects(matchLabels, other.labels ?? {})) continue;
      // One that is aggregated itself: Kubernetes copies its rules into this one in a second step.
      if (!Array.isArray(other.rules ?? [])) return `the rules of ${other.name}, which it aggregates, are malformed`;
      rules.push(...(other.rules ?? []));
    }
  }
  // From a file: what it will have in the cluster is not there to be read.
  return rules.length > 0 ? rules : 'it is aggregated from roles that were not read';
}

function isLabels(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const values = Object.values(value);
  return values.length > 0 && values.every((one) => typeof one === 'string');
}

function isRule(rule: unknown): rule is RbacRule {
  if (typeof rule !== 'object' || rule === null) return false;
  const { apiGroups, resources, verbs, resourceNames, nonResourceURLs, ...rest } = rule as Record<string, unknown>;
  const lists = [apiGroups, resources, verbs, resourceNames, nonResourceURLs];
  return Object.keys(rest).length === 0 && lists.every((one) => one === undefined || one === null || isTexts(one));
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

/** A RoleBinding gives nothing of nonResourceURLs. */
function* powersOfRule(rule: RbacRule): Generator<KubernetesPower> {
  const groups = rule.apiGroups ?? [];
  const resources = rule.resources ?? [];
  const verbs = rule.verbs ?? [];
  if (resources.length === 0) return;
  const anyVerb = verbs.includes('*');
  const hasGroup = (group: string) => groups.includes('*') || groups.includes(group);
  if (anyVerb || [...groups, ...resources].some((one) => one.includes('*'))) yield 'wildcards';
  for (const [power, group, names, needed] of POWERFUL) {
    const may = needed ? needed.some((verb) => anyVerb || verbs.includes(verb)) : verbs.length > 0;
    if (may && hasGroup(group) && names.split(' ').some((name) => matches(resources, name))) yield power;
  }
  const writes = verbs.some((verb) => !READS.includes(verb));
  if (writes && POLICY_GROUPS.some(hasGroup)) yield 'policies';
  const connects =
    verbs.length > 0 && resources.some((one) => one.includes('/') && !SHOWN.includes(one.split('/')[1]!));
  if ((writes || connects) && groups.some((group) => !KNOWN_GROUPS.has(group))) yield 'custom-resources';
  if (verbs.some((verb) => verb === 'bind' || verb === 'escalate')) yield 'rbac';
  const impersonates = verbs.some((verb) => verb.startsWith('impersonate'));
  if (impersonates || (anyVerb && IMPERSONATED.some((name) => matches(resources, name)))) yield 'impersonate';
}

function matches(resources: readonly string[], name: string): boolean {
  const [whole, part] = name.split('/');
  return resources.some(
    (one) => one === '*' || one === name || (part !== undefined && (one === `*/${part}` || one === `${whole}/*`)),
  );
}
