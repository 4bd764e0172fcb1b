/** Checks the Kubernetes version, and that the chart's admission policies and mesh gateway exist and take effect. */
import { MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access/compile';
import { type Finding, misconfigured, ok } from '../diagnosis/finding.ts';
import { type CheckContext, formatSelector, list, read, type Seen } from './context.ts';

/** The names of the chart's admission policies. */
export const ADMISSION_POLICIES = [
  ...['meshpass-accounts', 'meshpass-active', 'meshpass-grants', 'meshpass-namespaces'],
  ...['meshpass-policies', 'meshpass-workloads'],
  ...['meshpass-audit-checkpoint', 'meshpass-audit-checkpoint-deletion', 'meshpass-signing-key'],
] as const;
/** The first Kubernetes minor version in which ValidatingAdmissionPolicy is stable. */
const OLDEST_KUBERNETES = 30;

/** Checks that the Kubernetes version is supported. */
export async function checkKubernetes({ http }: CheckContext): Promise<Finding> {
  const { body } = await http.call({ method: 'GET', path: '/version' });
  const { gitVersion = 'unknown', minor = '0' } = body as { gitVersion?: string; minor?: string };
  if (Number.parseInt(minor, 10) >= OLDEST_KUBERNETES) return ok(`Kubernetes ${gitVersion}.`);
  return misconfigured(
    `Kubernetes ${gitVersion} has no stable admission policies. Meshpass requires 1.${OLDEST_KUBERNETES} or later.`,
    { seen: 'kubectl version', command: 'kubectl version', next: 'Upgrade the cluster.' },
  );
}

/** Checks the admission policies. A policy has no effect unless a binding with the action Deny exists. */
export async function checkAdmissionPolicies({ http, namespace }: CheckContext): Promise<readonly Finding[]> {
  const path = '/apis/admissionregistration.k8s.io/v1';
  const bindings = await list(http, `${path}/validatingadmissionpolicybindings`);
  const policies = await Promise.all(
    ADMISSION_POLICIES.map((one) => read(http, `${path}/validatingadmissionpolicies/${one}`)),
  );
  const findings = ADMISSION_POLICIES.flatMap((name, index) => {
    const policy = policies[index];
    const why = reasonAgainst(policy, name, namespace, bindings);
    return why === undefined
      ? []
      : misconfigured(
          `The admission policy ${name} is not in effect: ${why}. The broker can do more than the security model allows.`,
          {
            seen: `kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings ${name}`,
            next: "Reapply the chart's policies.",
            command: `helm upgrade meshpass CHART --namespace ${namespace} --reset-then-reuse-values`,
          },
        );
  });
  return findings.length > 0 ? findings : [ok(`${ADMISSION_POLICIES.length} admission policies are in effect.`)];
}

function reasonAgainst(
  policy: Seen | undefined,
  name: string,
  namespace: string,
  bindings: readonly Seen[],
): string | undefined {
  if (!policy) return 'it does not exist';
  if (policy.spec?.failurePolicy === 'Ignore') return 'requests are allowed if it fails (failurePolicy: Ignore)';
  if (!policy.spec?.validations?.length) return 'it has no validations';
  if (!isAbout(namespace, policy)) return `it does not match all requests from the broker in ${namespace}`;
  const own = bindings.filter(({ spec }) => spec?.policyName === name);
  if (own.length === 0) return 'it has no binding';
  if (!own.some((binding) => isWhole(policy, binding))) return 'none of its bindings denies requests in all namespaces';
  const warnings: readonly { warning?: string }[] = policy.status?.typeChecking?.expressionWarnings ?? [];
  return warnings[0]
    ? `one of its expressions does not type-check (${String(warnings[0].warning).split('\n')[0]})`
    : undefined;
}

/**
 * Whether a binding enforces its policy without exceptions. A policy with parameters must be bound to all of them, but
 * only for Meshpass objects, because meshpass-policies denies the broker access to all other objects.
 */
function isWhole({ spec: policy }: Seen, { spec }: Seen): boolean {
  if (!spec.validationActions?.includes('Deny')) return false;
  if (!policy.paramKind) return !spec.matchResources;
  const { selector, ...param } = spec.paramRef ?? {};
  const { objectSelector, matchPolicy: _, ...narrower } = spec.matchResources ?? {};
  return (
    selector !== undefined &&
    [selector, ...Object.values(narrower)].every((one) => Object.keys(one as object).length === 0) &&
    Object.keys(param).every((key) => key === 'parameterNotFoundAction') &&
    Object.keys(objectSelector ?? {}).every((key) => key === 'matchLabels') &&
    Object.entries(objectSelector?.matchLabels ?? {}).every(
      ([key, value]) => key === MANAGED_BY_LABEL && value === MANAGED_BY,
    )
  );
}

/**
 * Whether a policy applies to this broker. Each of the chart's policies has exactly one match condition: the request
 * comes from the broker or concerns its namespace.
 */
function isAbout(namespace: string, { spec }: Seen): boolean {
  const conditions: readonly { expression?: string }[] = spec.matchConditions ?? [];
  const { namespaceSelector = {}, objectSelector = {}, excludeResourceRules = [] } = spec.matchConstraints ?? {};
  const isNarrowed = [namespaceSelector, objectSelector, excludeResourceRules].some(
    (one) => Object.keys(one).length > 0,
  );
  const names = [`'system:serviceaccount:${namespace}:meshpass-broker'`, `request.namespace == '${namespace}'`];
  return !isNarrowed && conditions.length === 1 && names.some((name) => conditions[0]!.expression?.includes(name));
}

/** Checks that the mesh gateway is ready and exposes only the granted hosts. */
export async function checkGateway({ http, gateway }: CheckContext): Promise<readonly Finding[]> {
  const { namespace, labels, port } = gateway;
  const selector = formatSelector(labels);
  const [pods, gateways] = await Promise.all([
    list(http, `/api/v1/namespaces/${namespace}/pods`, labels),
    list(http, `/apis/networking.istio.io/v1/namespaces/${namespace}/gateways`),
  ]);
  const seen = `kubectl -n ${namespace} get pods -l ${selector}`;
  if (pods.length === 0)
    return [
      misconfigured(`Cannot find the mesh gateway: no Pod in ${namespace} has the label ${selector}.`, {
        seen,
        next: "Pass the gateway's labels as --gateway-label, or install the gateway with the chart.",
        command: `kubectl get pods --all-namespaces -l istio --show-labels`,
      }),
    ];
  const findings: Finding[] = [];
  const isReady = ({ status }: Seen) =>
    status?.conditions?.some((one: { type: string; status: string }) => one.type === 'Ready' && one.status === 'True');
  if (!pods.some(isReady))
    findings.push(
      misconfigured(`None of the ${pods.length} mesh gateway Pods is ready.`, {
        seen,
        command: `kubectl -n ${namespace} describe pods -l ${selector}`,
        next: 'A gateway becomes ready once istiod has issued its certificate.',
      }),
    );
  const own = gateways.filter(({ spec }) => matches(spec?.selector, labels));
  const passing = own.filter(({ spec }) =>
    spec?.servers?.some((one: Seen) => one.tls?.mode === 'AUTO_PASSTHROUGH' && one.port?.number === port),
  );
  const look = `kubectl -n ${namespace} get gateways.networking.istio.io -o yaml`;
  if (passing.length === 0)
    findings.push(
      misconfigured(
        `No Gateway opens its port ${port} in mode AUTO_PASSTHROUGH, so granted services are unreachable.`,
        {
          seen: look,
          next: 'The broker creates it from the access file. With --gitops, create it with meshpass policy compile.',
          command: 'meshpass policy compile --help',
        },
      ),
    );
  const wide = passing.find(({ spec }) =>
    spec.servers.some((one: Seen) => one.hosts?.some((host: string) => /^(?:[^/]*\/)?\*$|\*\.local$/.test(host))),
  );
  if (wide)
    findings.push(
      misconfigured(
        `Gateway ${namespace}/${wide.metadata.name} forwards to every host in the mesh, not only to granted hosts.`,
        {
          seen: look,
          next: 'Remove it: the Gateway compiled from the access file lists its hosts.',
          command: `kubectl -n ${namespace} delete gateways.networking.istio.io ${wide.metadata.name}`,
        },
      ),
    );
  return findings.length > 0 ? findings : [ok(`${selector} in ${namespace}: ready, and open to granted hosts.`, seen)];
}

/** Whether a selector matches the labels of a Pod. */
function matches(selector: Record<string, string> | undefined, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}
