/**
 * Checks that kubectl access from workspaces is enabled either in all components or in none of them, and that the bound
 * roles do not grant too many permissions.
 */
import { clusterRoleOf, knownRoles, MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access/compile';
import { type Finding, type Findings, misconfigured, ok, warning } from '../diagnosis/finding.ts';
import { type CheckContext, list, read, type Seen } from './context.ts';

const RBAC = '/apis/rbac.authorization.k8s.io/v1';

/**
 * Checks that kubectl access is configured consistently, and that the bound roles do not grant too many permissions.
 */
export async function checkKubectl(context: CheckContext): Promise<readonly Finding[]> {
  return [await checkParts(context), await checkBoundRoles(context)].flat();
}

async function checkParts({ http, namespace }: CheckContext): Promise<Finding> {
  const deployment = (part: string) => read(http, `/apis/apps/v1/namespaces/${namespace}/deployments/meshpass-${part}`);
  const [broker, edge, policy] = await Promise.all([
    deployment('broker'),
    deployment('edge'),
    read(http, '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/meshpass-accounts'),
  ]);
  const audience = flagOf(broker, '--kubernetes-audience');
  const api = flagOf(edge, '--kubernetes-api');
  const seen = `kubectl -n ${namespace} get deployment meshpass-broker meshpass-edge -o yaml`;
  if (audience === undefined && api === undefined)
    return ok('kubectl in workspaces is off (kubernetes.enabled in the chart).', seen);
  const command = `helm upgrade meshpass CHART --namespace ${namespace} --reset-then-reuse-values --set kubernetes.enabled=true`;
  const half = (says: string) => misconfigured(says, { seen, next: 'Configure both through the chart.', command });
  if (audience === undefined)
    return half('The edge connects to the API server, but the broker does not issue tokens for it.');
  if (api === undefined)
    return half('The broker issues tokens for the API server, but the edge does not connect to it.');
  const variables: readonly { name?: string; expression?: string }[] = policy?.spec?.variables ?? [];
  if (variables.some(({ name, expression }) => name === 'kubernetesAudience' && expression === `'${audience}'`))
    return ok(`Workspaces whose grants have roles can reach ${api} with tokens for ${audience}.`, seen);
  return misconfigured(
    `The admission policy meshpass-accounts does not allow the broker to request tokens for ${audience}.`,
    {
      seen: 'kubectl get validatingadmissionpolicy meshpass-accounts -o yaml',
      next: 'Install the policies and Deployments with the same values.',
      command,
    },
  );
}

/** Returns the value of a command-line flag of the first container. If the flag is repeated, the last value is used. */
function flagOf(deployment: Seen | undefined, flag: string): string | undefined {
  const args: readonly unknown[] = deployment?.spec?.template?.spec?.containers?.[0]?.args ?? [];
  const found = args.findLast((one) => typeof one === 'string' && one.startsWith(`${flag}=`));
  return found === undefined ? undefined : String(found).slice(flag.length + 1);
}

async function checkBoundRoles({ http }: CheckContext): Promise<Findings> {
  const [bindings, roles] = await Promise.all([
    list(http, `${RBAC}/rolebindings`, { [MANAGED_BY_LABEL]: MANAGED_BY }),
    list(http, `${RBAC}/clusterroles`),
  ]);
  const known = knownRoles(roles.map((role) => clusterRoleOf(role as Parameters<typeof clusterRoleOf>[0])));
  const there = new Set(roles.map(({ metadata }) => metadata.name));
  return bindings.flatMap(({ metadata, roleRef }): Findings => {
    const name = String(roleRef?.name);
    const where = `${metadata.namespace}/${metadata.name}`;
    const about = { seen: `kubectl -n ${metadata.namespace} get rolebinding ${metadata.name} -o yaml` };
    const command = `kubectl describe clusterrole ${name}`;
    if (!there.has(name))
      return misconfigured(`${where} binds the ClusterRole ${name}, which does not exist.`, {
        ...about,
        next: 'Create it, or remove it from the access file.',
        command: 'kubectl get clusterroles',
      });
    const { powers, unknown } = known.get(name)!;
    if (unknown === undefined && powers.size === 0) return [];
    const what = unknown === undefined ? `allows ${[...powers].join(', ')}` : `cannot be evaluated: ${unknown}`;
    const says = `The ClusterRole ${name} bound by ${where} ${what}.`;
    const next = 'Meshpass binds it because the access file allows this. With GitOps, the role may have changed since.';
    return warning(says, { ...about, next, command });
  });
}
