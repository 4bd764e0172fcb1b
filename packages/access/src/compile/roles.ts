/**
 * Finds the powers of ClusterRoles that go beyond reading and changing objects. Rules are matched as in Kubernetes: a
 * star matches everything, a star followed by a subresource matches that subresource of every resource, and all other
 * text is compared literally (Kubernetes' RBAC authorizer, k8s.io/component-helpers/auth/rbac/validation). Rules in an
 * unknown format could mean anything.
 */
import { memoize } from '@meshpass/identity';
import { didYouMean, type Mesh, type MeshClusterRole, type Place, type RbacRule, selects } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import { type Access, type Grant, KUBERNETES_POWERS, type KubernetesPower } from '../model.ts';
import { type AccessFileProblem, accessFileError, problemAt } from '../problem.ts';
import { isReserved, isSelection, selectedNamespaces } from '../schema/selection.ts';

export interface RolePowers {
  readonly powers: ReadonlySet<KubernetesPower>;
  /** The reason why the rules could not be interpreted. If this is set, the role could allow anything. */
  readonly unknown?: string;
}

const WRITES = ['create', 'update', 'patch'];
const CHANGES = [...WRITES, 'delete', 'deletecollection'];

/**
 * Resources by API group, with the verbs that give a power. If no verbs are listed, any verb does. Permission to delete
 * implies permission to read: with `dryRun` or `propagationPolicy`, the API server returns the deleted objects, and
 * `deletecollection` does not need their names. DELETE requests are also forwarded by proxies.
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
  // The status of an Ingress contains the address to which its host names resolve.
  ['policies', 'networking.k8s.io', 'networkpolicies ingresses ingresses/status', CHANGES],
  // A namespace's labels control sidecar injection, Pod security and whether grants select the namespace. A RoleBinding
  // in the namespace is enough to change them.
  ['policies', '', 'namespaces namespaces/status namespaces/finalize', CHANGES],
  // These resources decide which Pod gets the traffic for a name. Kubernetes removed endpoints from `edit` because of
  // CVE-2021-25740. A Pod's status contains its address.
  ['policies', '', 'services services/status endpoints pods/status', WRITES],
  ['policies', 'discovery.k8s.io', 'endpointslices', WRITES],
  ['workloads', 'extensions', 'deployments daemonsets replicasets', WRITES],
  ['policies', 'extensions', 'networkpolicies ingresses ingresses/status', CHANGES],
];
/** API groups in which every kind affects who can reach what. */
const POLICY_GROUPS = [
  ...['security.istio.io', 'networking.istio.io', 'extensions.istio.io', 'telemetry.istio.io'],
  ...['gateway.networking.k8s.io', 'gateway.networking.x-k8s.io', 'policy.networking.k8s.io'],
  ...['cilium.io', 'crd.projectcalico.org', 'projectcalico.org'],
];
/**
 * The API groups of Kubernetes itself. Their kinds are either listed above or give no power. In all other groups, the
 * effect of a change depends on the controllers that are installed.
 */
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
/**
 * Subresources that only display data. Any other subresource of an unknown kind might open a connection, even for
 * `get`, as a console does.
 */
const SHOWN = ['status', 'scale', 'log'];
const IMPERSONATED = ['users', 'groups', 'serviceaccounts', 'userextras', 'uids'];

/**
 * Returns the powers that a ClusterRole's rules give.
 * @param all all known ClusterRoles, because an aggregated role includes the rules of other roles
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

/**
 * Returns the powers of each ClusterRole. Without a cluster, this only includes the roles that every cluster has. The
 * result is computed once per list, because every grant with roles needs it and a cluster has about a hundred roles.
 * @param clusterRoles the ClusterRoles. The list must not be modified afterwards
 * @example
 * ```ts
 * import { knownRoles } from '@meshpass/access/compile';
 * [...knownRoles([]).keys()]; // => ['view', 'edit', 'admin']
 * ```
 */
export const knownRoles = memoize(
  (clusterRoles: readonly MeshClusterRole[]): ReadonlyMap<string, RolePowers> =>
    new Map([...DEFAULTS, ...clusterRoles.map((role) => [role.name, powersOf(role, clusterRoles)] as const)]),
);

/**
 * Explains why a role is rejected for a grant, or returns undefined if it is accepted.
 * @param known the powers of all roles that exist
 */
function whyRoleRefused(
  role: string,
  known: ReadonlyMap<string, RolePowers>,
  { kubernetesAllow: allow = [] }: Pick<Grant, 'kubernetesAllow'>,
): Pick<AccessFileProblem, 'code' | 'message'> | undefined {
  const found = known.get(role);
  if (!found) {
    const message = `the ClusterRole ${role} is unknown, so its powers cannot be checked${didYouMean(role, [...known.keys()])}: create it, or add its manifest to the input`;
    return { code: 'access_role_unknown', message };
  }
  const { powers, unknown } = found;
  if (unknown !== undefined) {
    const message = `cannot interpret the ClusterRole ${role} (${unknown}), so it may allow anything: use a role with plain rules`;
    return { code: 'access_role_unknown', message };
  }
  const beyond = [...powers].filter((power) => !allow.includes(power));
  if (beyond.length === 0) return undefined;
  const what = beyond.map((power) => `${power} (${KUBERNETES_POWERS[power]})`).join(', ');
  const all = [...new Set([...allow, ...beyond])].join(', ');
  const message = `the ClusterRole ${role} allows ${what}: use a different role, or set kubernetes: {allow: [${all}]}`;
  return { code: 'access_role_powers', message };
}

/**
 * Checks the roles that exist in every cluster. Use this when no cluster is available.
 * @throws MeshpassError `access_role_powers` with all problems, each with its FILE:LINE:COLUMN
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
  const problems = access.grants.flatMap((grant) =>
    grant.kubernetesRoles.flatMap(({ role, place }): AccessFileProblem[] => {
      const refused = DEFAULTS.has(role) ? whyRoleRefused(role, DEFAULTS, grant) : undefined;
      return refused ? [{ ...refused, place }] : [];
    }),
  );
  if (problems.length > 0) throw accessFileError(problems);
}

/**
 * The powers of Kubernetes' built-in roles (plugin/pkg/auth/authorizer/rbac/bootstrappolicy). `view` cannot read
 * Secrets, whereas `edit` can even run Pods.
 */
const EDIT: readonly KubernetesPower[] = [
  ...(['exec', 'attach', 'port-forward', 'proxy', 'secrets', 'token-requests', 'impersonate'] as const),
  ...(['workloads', 'policies'] as const),
];
const DEFAULTS: ReadonlyMap<string, RolePowers> = new Map([
  ['view', { powers: new Set<KubernetesPower>() }],
  ['edit', { powers: new Set(EDIT) }],
  ['admin', { powers: new Set<KubernetesPower>([...EDIT, 'rbac']) }],
]);

/** Returns a role's rules, including those it aggregates, or the reason why they are unknown. */
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
    // If one of these roles aggregates others itself, Kubernetes copies its rules into this role in a second pass.
    const others = all.filter((other) => other.name !== role.name && selects(matchLabels, other.labels ?? {}));
    const malformed = others.find((other) => !Array.isArray(other.rules ?? []));
    if (malformed) return `it aggregates ${malformed.name}, whose rules are malformed`;
    rules.push(...others.flatMap((other) => other.rules ?? []));
  }
  // In a manifest, an aggregated role has no rules of its own. The cluster fills them in.
  return rules.length > 0 ? rules : 'it aggregates roles that were not read';
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

/** Lists the powers that a rule gives. nonResourceURLs have no effect in a RoleBinding. */
function powersOfRule(rule: RbacRule): readonly KubernetesPower[] {
  const groups = rule.apiGroups ?? [];
  const resources = rule.resources ?? [];
  const verbs = rule.verbs ?? [];
  if (resources.length === 0) return [];
  const anyVerb = verbs.includes('*');
  const hasGroup = (group: string) => groups.includes('*') || groups.includes(group);
  const reads = (names: readonly string[]) => names.some((name) => matches(resources, name));
  const may = (needed: readonly string[] | undefined) =>
    needed ? anyVerb || needed.some((verb) => verbs.includes(verb)) : verbs.length > 0;
  const writes = verbs.some((verb) => !READS.includes(verb));
  const connects =
    verbs.length > 0 && resources.some((one) => one.includes('/') && !SHOWN.includes(one.split('/')[1]!));
  const powers: readonly (readonly [KubernetesPower, boolean])[] = [
    ['wildcards', anyVerb || [...groups, ...resources].some((one) => one.includes('*'))],
    ...POWERFUL.map(
      ([power, group, names, needed]) => [power, may(needed) && hasGroup(group) && reads(names.split(' '))] as const,
    ),
    ['policies', writes && POLICY_GROUPS.some(hasGroup)],
    ['custom-resources', (writes || connects) && groups.some((group) => !KNOWN_GROUPS.has(group))],
    ['rbac', verbs.includes('bind') || verbs.includes('escalate')],
    ['impersonate', verbs.some((verb) => verb.startsWith('impersonate')) || (anyVerb && reads(IMPERSONATED))],
  ];
  return powers.flatMap(([power, given]) => (given ? [power] : []));
}

function matches(resources: readonly string[], name: string): boolean {
  const [whole, part] = name.split('/');
  return resources.some(
    (one) => one === '*' || one === name || (part !== undefined && (one === `*/${part}` || one === `${whole}/*`)),
  );
}

// The ClusterRoles that a grant assigns, with their namespaces. The rules of each role must be known, and must not give
// any power that the grant does not list.

export interface ResolvedRole {
  readonly role: string;
  readonly namespace: string;
  readonly place: Place;
}

/** Resolves a grant's roles. For roles that are rejected, the reasons are returned. */
export function resolveRoles(
  grant: Grant,
  mesh: Mesh,
): { readonly roles: readonly ResolvedRole[]; readonly problems: readonly AccessFileProblem[] } {
  if (grant.kubernetesRoles.length === 0) return { roles: [], problems: [] };
  const problems: AccessFileProblem[] = [];
  const known = knownRoles(mesh.clusterRoles ?? []);
  const roles = grant.kubernetesRoles.flatMap((entry): ResolvedRole[] => {
    const { role, namespace, place } = entry;
    if (!isSelection(entry) && isReserved(namespace!, mesh)) {
      problems.push(problemAt(place, `${namespace} ${whyReserved(namespace!, mesh)}`));
      return [];
    }
    const refused = whyRoleRefused(role, known, grant);
    if (refused) {
      problems.push({ ...refused, place });
      return [];
    }
    const namespaces = isSelection(entry) ? selectedNamespaces(entry, mesh) : [namespace!];
    return namespaces.map((one) => ({ role, namespace: one, place }));
  });
  return { roles: distinct(roles, (one) => `${one.role}@${one.namespace}`), problems };
}

/** Whether a namespace is part of the mesh itself. */
export function isMeshNamespace(namespace: string, mesh: Mesh): boolean {
  return namespace === mesh.rootNamespace || namespace === mesh.gateway.namespace;
}

/**
 * Explains why a namespace is reserved. The namespaces of grants contain other people's ServiceAccounts, whose tokens
 * can be used to impersonate these people.
 */
function whyReserved(namespace: string, mesh: Mesh): string {
  if (isMeshNamespace(namespace, mesh))
    return "holds the mesh's keys, so grants cannot bind roles there: use a different namespace";
  const whose = namespace.startsWith('kube-') ? 'Kubernetes' : 'Meshpass';
  return `belongs to ${whose}, so grants cannot bind roles there: use a different namespace`;
}
