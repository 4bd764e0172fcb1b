/**
 * Checks the permissions of the broker's ServiceAccount, which must have all that it needs and none that are dangerous,
 * and those of the user who installs the chart.
 */
import { type Finding, type Findings, misconfigured, ok, unknown, warning } from '../diagnosis/finding.ts';
import { type CheckContext, read } from './context.ts';

export interface KubernetesPermission {
  readonly group: string;
  readonly resource: string;
  readonly verbs: readonly string[];
  /** The namespace that the permission is limited to. If it is absent, the permission applies to the whole cluster. */
  readonly where?: 'release' | 'root';
  readonly name?: string;
}

const SECURITY = 'security.istio.io';
const NETWORKING = 'networking.istio.io';

/**
 * The permissions that the broker needs. Keep this list in sync with the chart's files/broker-rbac.yaml. The `bind`
 * permissions are left out, because their names depend on the installation.
 */
export const BROKER_PERMISSIONS: readonly KubernetesPermission[] = [
  { group: '', resource: 'serviceaccounts', verbs: ['create', 'delete', 'list'] },
  { group: '', resource: 'serviceaccounts/token', verbs: ['create'] },
  { group: '', resource: 'namespaces', verbs: ['create', 'delete', 'list', 'patch', 'watch'] },
  { group: '', resource: 'services', verbs: ['list', 'watch'] },
  { group: '', resource: 'pods', verbs: ['list', 'watch'] },
  { group: SECURITY, resource: 'authorizationpolicies', verbs: ['create', 'delete', 'list', 'patch', 'watch'] },
  { group: SECURITY, resource: 'requestauthentications', verbs: ['list', 'watch'] },
  { group: SECURITY, resource: 'peerauthentications', verbs: ['list', 'watch'] },
  { group: NETWORKING, resource: 'destinationrules', verbs: ['list'] },
  { group: NETWORKING, resource: 'envoyfilters', verbs: ['list'] },
  { group: NETWORKING, resource: 'gateways', verbs: ['list'] },
  { group: NETWORKING, resource: 'serviceentries', verbs: ['list'] },
  { group: NETWORKING, resource: 'sidecars', verbs: ['create', 'delete', 'list', 'patch'] },
  { group: NETWORKING, resource: 'virtualservices', verbs: ['list'] },
  { group: 'extensions.istio.io', resource: 'trafficextensions', verbs: ['list'] },
  { group: 'extensions.istio.io', resource: 'wasmplugins', verbs: ['list'] },
  { group: 'rbac.authorization.k8s.io', resource: 'rolebindings', verbs: ['create', 'delete', 'list', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterroles', verbs: ['list', 'watch'] },
  { group: 'authentication.k8s.io', resource: 'tokenreviews', verbs: ['create'] },
  { group: NETWORKING, resource: 'gateways', verbs: ['create', 'delete', 'list', 'patch'], where: 'release' },
  { group: SECURITY, resource: 'requestauthentications', verbs: ['create', 'list', 'patch'], where: 'root' },
  { group: '', resource: 'configmaps', verbs: ['list', 'watch'], where: 'root', name: 'istio-ca-root-cert' },
  { group: '', resource: 'pods', verbs: ['patch'], where: 'release' },
  { group: '', resource: 'configmaps', verbs: ['get', 'patch'], where: 'release', name: 'meshpass-audit-checkpoint' },
];

/**
 * Permissions that the broker must never have. They would allow an attacker who controls the broker to gain control of
 * the whole cluster or of individual namespaces.
 */
export const NEVER: readonly KubernetesPermission[] = [
  { group: '', resource: 'secrets', verbs: ['get', 'list', 'watch'] },
  { group: '', resource: 'pods', verbs: ['create'] },
  { group: '', resource: 'pods/exec', verbs: ['create'] },
  { group: 'apps', resource: 'deployments', verbs: ['create', 'patch'] },
  { group: NETWORKING, resource: 'envoyfilters', verbs: ['create', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings', verbs: ['create', 'patch'] },
  { group: 'rbac.authorization.k8s.io', resource: 'clusterroles', verbs: ['escalate'] },
  { group: 'admissionregistration.k8s.io', resource: 'validatingadmissionpolicies', verbs: ['delete', 'patch'] },
];

/** The resources that GitOps manages. The broker must not have write access to them. */
const WRITTEN_BY_OTHERS = ['rolebindings', 'sidecars', 'namespaces', 'gateways', 'authorizationpolicies'];
const READS: readonly string[] = ['get', 'list', 'watch'];

/**
 * The permissions that the broker needs with GitOps. Keep this list in sync with the chart's
 * files/broker-rbac-gitops.yaml.
 */
export const GITOPS_PERMISSIONS: readonly KubernetesPermission[] = [
  ...BROKER_PERMISSIONS.flatMap(withoutWriting),
  { group: SECURITY, resource: 'authorizationpolicies', verbs: ['create', 'delete', 'list', 'patch'], where: 'root' },
];

/**
 * Checks the broker's permissions with SubjectAccessReview, so that the API server takes every binding and every
 * authorizer into account.
 */
export async function checkBrokerPermissions(context: CheckContext): Promise<readonly Finding[]> {
  const user = `system:serviceaccount:${context.namespace}:meshpass-broker`;
  const wanted = context.gitops ? GITOPS_PERMISSIONS : BROKER_PERMISSIONS;
  const [missing, excess] = await Promise.all([
    reviewPermissions(context, wanted, user).then((all) => all.filter(({ allowed }) => !allowed)),
    reviewPermissions(context, NEVER.flatMap(everywhere), user).then((all) =>
      widest(all.filter(({ allowed }) => allowed)),
    ),
  ]);
  const findings = [
    ...missing.map(({ right, verb, namespace }) =>
      misconfigured(`The broker cannot ${verb} ${nameOf(right)}${placeOf(namespace)}.`, {
        seen: `kubectl auth can-i ${asked(right, verb, namespace)} --as ${user}: no`,
        next: "Reapply the chart's RBAC rules. With Argo CD or Flux, sync again.",
        command: `helm upgrade meshpass CHART --namespace ${context.namespace} --reset-then-reuse-values`,
      }),
    ),
    ...excess.map(({ right, verb, namespace }) =>
      misconfigured(
        `The broker can ${verb} ${nameOf(right)}${placeOf(namespace)}, which exceeds the chart's RBAC rules.`,
        {
          seen: `kubectl auth can-i ${asked(right, verb, namespace)} --as ${user}: yes`,
          next: 'Find the binding that grants it, and remove it.',
          command: `kubectl get rolebindings,clusterrolebindings -A -o json | jq '.items[] | select(.subjects[]?.name == "meshpass-broker") | .metadata | {namespace, name}'`,
        },
      ),
    ),
  ];
  if (findings.length > 0) return findings;
  return [ok(`${user} has all required permissions and no forbidden ones.`, 'SubjectAccessReview')];
}

/**
 * Extends a cluster-wide permission to the release and root namespaces, which contain the keys of the broker and
 * istiod. A cluster-wide query does not consider Roles, which are limited to a namespace.
 */
function everywhere(right: KubernetesPermission): readonly KubernetesPermission[] {
  return [right, { ...right, where: 'release' }, { ...right, where: 'root' }];
}

/** Removes namespaced permissions that are also granted cluster-wide. */
function widest<T extends { right: KubernetesPermission; verb: string }>(given: readonly T[]): readonly T[] {
  const of = ({ right, verb }: T) => `${verb} ${right.group}/${right.resource}`;
  const whole = new Set(given.filter(({ right }) => right.where === undefined).map(of));
  return given.filter((one) => one.right.where === undefined || !whole.has(of(one)));
}

function withoutWriting(right: KubernetesPermission): readonly KubernetesPermission[] {
  if (!WRITTEN_BY_OTHERS.includes(right.resource)) return [right];
  const verbs = right.verbs.filter((verb) => READS.includes(verb));
  return verbs.length === 0 ? [] : [{ ...right, verbs }];
}

/**
 * Checks with the API server which permissions are granted, for each of their verbs.
 * @param user the user name of a ServiceAccount. Defaults to the kubeconfig's own user
 */
async function reviewPermissions(
  { http, namespace: release, rootNamespace: root }: CheckContext,
  rights: readonly KubernetesPermission[],
  user?: string,
) {
  const kind = user === undefined ? 'SelfSubjectAccessReview' : 'SubjectAccessReview';
  const path = `/apis/authorization.k8s.io/v1/${kind.toLowerCase()}s`;
  const subject = user !== undefined && {
    user,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${user.split(':')[2]}`, 'system:authenticated'],
  };
  const review = async (right: KubernetesPermission, verb: string) => {
    const { group, name, where } = right;
    const [resource, subresource] = right.resource.split('/');
    const namespace = where && { release, root }[where];
    const resourceAttributes = {
      group,
      resource,
      verb,
      ...(subresource && { subresource }),
      ...(name && { name }),
      ...(namespace && { namespace }),
    };
    const order = { apiVersion: 'authorization.k8s.io/v1', kind, spec: { ...subject, resourceAttributes } };
    const { body } = await http.call({ method: 'POST', path, body: order });
    return { right, verb, namespace, allowed: (body as { status?: { allowed?: boolean } }).status?.allowed === true };
  };
  return await Promise.all(rights.flatMap((right) => right.verbs.map((verb) => review(right, verb))));
}

/** Formats a resource the way kubectl does, for example `roles.rbac.authorization.k8s.io`. */
function nameOf({ group, resource, name }: Omit<KubernetesPermission, 'verbs' | 'where'>): string {
  const of = group === '' ? resource : `${resource}.${group}`;
  return name ? `${of} ${name}` : of;
}

function placeOf(namespace: string | undefined): string {
  return namespace === undefined ? '' : ` in ${namespace}`;
}

function asked({ group, resource, name }: KubernetesPermission, verb: string, namespace: string | undefined): string {
  const [plural, subresource] = resource.split('/');
  const of = group === '' ? plural : `${plural}.${group}`;
  return [
    `${verb} ${name ? `${of}/${name}` : of}`,
    ...(subresource ? [`--subresource ${subresource}`] : []),
    namespace ? `-n ${namespace}` : '-A',
  ].join(' ');
}

const KEYS_JOB = 'meshpass-keys';

/**
 * Checks whether an installation was interrupted while it was creating its keys and left objects behind. Helm removes
 * the Job's permissions only if the Job finishes.
 * @returns no findings if the permissions do not exist or the Job is still running
 */
export async function checkLeftovers({ http, namespace }: CheckContext): Promise<Findings> {
  const [role, job] = await Promise.all([
    read(http, `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles/${KEYS_JOB}`),
    read(http, `/apis/batch/v1/namespaces/${namespace}/jobs/${KEYS_JOB}`),
  ]);
  const isAtWork = job?.status?.active > 0;
  if (!role || isAtWork) return [];
  const objects = `job,rolebinding,role,serviceaccount ${KEYS_JOB}`;
  return warning(
    `An interrupted installation left behind the permission to create Secrets in ${namespace} (Role ${KEYS_JOB}).`,
    {
      seen: `kubectl -n ${namespace} get ${objects}`,
      next: 'Remove it. Each installation or upgrade recreates it while creating keys.',
      command: `kubectl -n ${namespace} delete --ignore-not-found ${objects}`,
    },
  );
}

const RBAC = 'rbac.authorization.k8s.io';
const created = (
  group: string,
  where: KubernetesPermission['where'] | undefined,
  ...resources: readonly string[]
): readonly KubernetesPermission[] =>
  resources.map((resource) => ({ group, resource, verbs: ['create'], ...(where && { where }) }));

/** The permissions that `helm install` needs when the chart is installed with its default values. */
export const INSTALL_PERMISSIONS: readonly KubernetesPermission[] = [
  ...created('', 'release', 'configmaps', 'persistentvolumeclaims', 'secrets', 'serviceaccounts', 'services'),
  ...created('apps', 'release', 'deployments'),
  ...created('autoscaling', 'release', 'horizontalpodautoscalers'),
  ...created('batch', 'release', 'jobs'),
  ...created('networking.k8s.io', 'release', 'networkpolicies'),
  ...created('policy', 'release', 'poddisruptionbudgets'),
  ...created(RBAC, 'release', 'roles', 'rolebindings'),
  ...created(RBAC, 'root', 'roles', 'rolebindings'),
  ...created(RBAC, undefined, 'clusterroles', 'clusterrolebindings'),
  ...created(
    'admissionregistration.k8s.io',
    undefined,
    ...['validatingadmissionpolicies', 'validatingadmissionpolicybindings'],
  ),
];

/** Checks with SelfSubjectAccessReview whether the kubeconfig's user may install the chart. */
export async function checkInstallPermissions(context: CheckContext): Promise<Findings> {
  const seen = 'SelfSubjectAccessReview';
  const [all] = await reviewPermissions(context, [{ group: '*', resource: '*', verbs: ['*'] }]);
  if (all!.allowed) return ok('This user is an administrator.', seen);
  const answers = await reviewPermissions(context, INSTALL_PERMISSIONS);
  const missing = answers.filter(({ allowed }) => !allowed);
  if (missing.length > 0)
    return [...Map.groupBy(missing, ({ namespace }) => namespace)].map(([namespace, all]) => {
      const what = all.map(({ right }) => nameOf(right)).join(', ');
      return misconfigured(`This user cannot create ${what}${namespace === undefined ? '' : ` in ${namespace}`}.`, {
        seen,
        next: 'Install as a cluster administrator.',
        command: 'kubectl auth whoami',
      });
    });
  // Kubernetes lets users grant only the permissions that they have themselves, unless they have the `escalate` and
  // `bind` verbs.
  const escalates = await reviewPermissions(context, [
    { group: RBAC, resource: 'clusterroles', verbs: ['escalate', 'bind'] },
  ]);
  const says = 'This user can create everything that helm install creates';
  if (escalates.every(({ allowed }) => allowed)) return ok(`${says}.`, seen);
  return unknown(`${says}, but cannot escalate roles, so it must itself have the broker's permissions.`, {
    seen,
    next: 'Install as an administrator, or dry-run the objects: helm template ... | kubectl apply --dry-run=server --filename -',
  });
}
