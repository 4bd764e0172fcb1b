/** Checks whether the current user may install the chart, and whether Meshpass is already installed in the cluster. */
import { pageUrl } from '@meshpass/identity/documentation/url';
import { type Finding, type Findings, misconfigured, ok, unknown } from '../../diagnosis/finding.ts';
import { type CheckContext, read } from '../context.ts';
import { hasKubernetesPermission, type KubernetesPermission, nameOf } from '../rights.ts';

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

/** Checks the permissions of the kubeconfig's user with SelfSubjectAccessReview. */
export async function checkInstallPermissions(context: CheckContext): Promise<Findings> {
  const seen = 'SelfSubjectAccessReview';
  const may = (right: Omit<KubernetesPermission, 'verbs' | 'where'>, verb: string, namespace?: string) =>
    hasKubernetesPermission(context, undefined, right, verb, namespace);
  if (await may({ group: '*', resource: '*' }, '*')) return ok('This user is an administrator.', seen);
  const answers = await Promise.all(
    INSTALL_PERMISSIONS.map(async (right) => {
      const namespace = right.where && { release: context.namespace, root: context.rootNamespace }[right.where];
      return { right, namespace, allowed: await may(right, 'create', namespace) };
    }),
  );
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
  const escalates = await Promise.all(
    ['escalate', 'bind'].map((verb) => may({ group: RBAC, resource: 'clusterroles' }, verb)),
  );
  const says = 'This user can create everything that helm install creates';
  if (escalates.every(Boolean)) return ok(`${says}.`, seen);
  return unknown(`${says}, but cannot escalate roles, so it must itself have the broker's permissions.`, {
    seen,
    next: 'Install as an administrator, or dry-run the objects: helm template ... | kubectl apply --dry-run=server --filename -',
  });
}

/** Checks whether the broker's ClusterRoleBinding already exists. Its name does not depend on the release namespace. */
export async function checkRelease({ http, namespace }: CheckContext): Promise<Finding> {
  const binding = await read(http, `/apis/${RBAC}/v1/clusterrolebindings/meshpass-broker`);
  const seen = 'kubectl get clusterrolebinding meshpass-broker -o yaml';
  if (!binding) return ok('Meshpass is not installed.', seen);
  const other: string = binding.subjects?.[0]?.namespace ?? 'an unknown namespace';
  const version = binding.metadata.labels?.['app.kubernetes.io/version'] ?? '(unknown version)';
  if (other === namespace) return ok(`Meshpass ${version} is installed in ${namespace}: this is an upgrade.`, seen);
  return misconfigured(`Meshpass ${version} is already installed in ${other}; a cluster can have only one.`, {
    seen,
    next: `Pass its namespace as --namespace to upgrade it, or remove it: ${pageUrl('docs/install/removal.md')}.`,
    command: `helm list --all-namespaces --filter meshpass`,
  });
}
