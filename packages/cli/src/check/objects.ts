/** Whether what the chart installs is there and in force: admission policies, the mesh gateway; and the cluster's version. */
import { type Finding, wrong } from '../doctor/line.ts';
import { type CheckContext, fine, list, read, type Seen } from './context.ts';

/** Of the chart, by name. */
export const POLICIES = [
  ...['meshpass-accounts', 'meshpass-active', 'meshpass-namespaces', 'meshpass-policies'],
  ...['meshpass-audit-checkpoint', 'meshpass-audit-checkpoint-deletion'],
] as const;
/** Admission policies are stable from here on. */
const OLDEST_KUBERNETES = 30;

export async function checkKubernetes({ http }: CheckContext): Promise<readonly Finding[]> {
  const { body } = await http.call({ method: 'GET', path: '/version' });
  const { gitVersion = 'unknown', minor = '0' } = body as { gitVersion?: string; minor?: string };
  if (Number.parseInt(minor, 10) >= OLDEST_KUBERNETES) return [fine('kubernetes', `Kubernetes ${gitVersion}.`)];
  return [
    wrong(
      'kubernetes',
      `Kubernetes ${gitVersion} has no stable admission policies: 1.${OLDEST_KUBERNETES} is needed.`,
      {
        ...{ seen: 'kubectl version', command: 'kubectl version' },
        next: 'Upgrade the cluster.',
      },
    ),
  ];
}

/** A policy without a binding that denies does nothing. */
export async function checkAdmission({ http, namespace }: CheckContext): Promise<readonly Finding[]> {
  const path = '/apis/admissionregistration.k8s.io/v1';
  const bindings = await list(http, `${path}/validatingadmissionpolicybindings`);
  const policies = await Promise.all(POLICIES.map((one) => read(http, `${path}/validatingadmissionpolicies/${one}`)));
  const findings = POLICIES.flatMap((name, index) => {
    const policy = policies[index];
    const why = reasonAgainst(policy, name, namespace, bindings);
    return why === undefined
      ? []
      : wrong(
          'admission',
          `The admission policy ${name} is not in force: ${why}. The broker may do more than the security model says.`,
          {
            seen: `kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings ${name}`,
            next: 'Apply the policies of the chart again.',
            command: `helm upgrade meshpass CHART --namespace ${namespace} --reset-then-reuse-values`,
          },
        );
  });
  return findings.length > 0 ? findings : [fine('admission', `${POLICIES.length} admission policies are in force.`)];
}

function reasonAgainst(
  policy: Seen | undefined,
  name: string,
  namespace: string,
  bindings: readonly Seen[],
): string | undefined {
  if (!policy) return 'it is not there';
  if (policy.spec?.failurePolicy === 'Ignore') return 'where it fails, everything is allowed (failurePolicy: Ignore)';
  if (!policy.spec?.validations?.length) return 'it says nothing';
  if (!isAbout(namespace, policy)) return `it is not about the broker in ${namespace}, or not about all that it does`;
  const own = bindings.filter(({ spec }) => spec?.policyName === name);
  if (own.length === 0) return 'nothing binds it';
  const isWhole = ({ spec }: Seen) => spec.validationActions?.includes('Deny') && !spec.matchResources;
  if (!own.some(isWhole)) return 'no binding of it denies everywhere';
  const warnings: readonly { warning?: string }[] = policy.status?.typeChecking?.expressionWarnings ?? [];
  return warnings[0]
    ? `one of its expressions does not type-check (${String(warnings[0].warning).split('\n')[0]})`
    : undefined;
}

/** Of the chart each has one condition: that the broker asks, or that the request is about its namespace. */
function isAbout(namespace: string, { spec }: Seen): boolean {
  const conditions: readonly { expression?: string }[] = spec.matchConditions ?? [];
  const { namespaceSelector = {}, objectSelector = {}, excludeResourceRules = [] } = spec.matchConstraints ?? {};
  const isNarrowed = [namespaceSelector, objectSelector, excludeResourceRules].some(
    (one) => Object.keys(one).length > 0,
  );
  const names = [`'system:serviceaccount:${namespace}:meshpass-broker'`, `request.namespace == '${namespace}'`];
  return !isNarrowed && conditions.length === 1 && names.some((name) => conditions[0]!.expression?.includes(name));
}

export async function checkGateway({ http, gateway }: CheckContext): Promise<readonly Finding[]> {
  const { namespace, labels, port } = gateway;
  const selector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const [pods, gateways] = await Promise.all([
    list(http, `/api/v1/namespaces/${namespace}/pods`, labels),
    list(http, `/apis/networking.istio.io/v1/namespaces/${namespace}/gateways`),
  ]);
  const seen = `kubectl -n ${namespace} get pods -l ${selector}`;
  if (pods.length === 0)
    return [
      wrong('gateway', `No Pod in ${namespace} has the label ${selector}: nothing is the mesh gateway.`, {
        seen,
        next: 'Give the labels of the gateway with --gateway-label, or install it with the chart.',
        command: `kubectl get pods --all-namespaces -l istio --show-labels`,
      }),
    ];
  const findings: Finding[] = [];
  const isReady = ({ status }: Seen) =>
    status?.conditions?.some((one: { type: string; status: string }) => one.type === 'Ready' && one.status === 'True');
  if (!pods.some(isReady))
    findings.push(
      wrong('gateway', `${pods.length} Pods are the mesh gateway, and none is ready.`, {
        ...{ seen, command: `kubectl -n ${namespace} describe pods -l ${selector}` },
        next: 'Without istiod and its certificate a gateway does not become ready.',
      }),
    );
  const own = gateways.filter(({ spec }) => matches(spec?.selector, labels));
  const passing = own.filter(({ spec }) =>
    spec?.servers?.some((one: Seen) => one.tls?.mode === 'AUTO_PASSTHROUGH' && one.port?.number === port),
  );
  const look = `kubectl -n ${namespace} get gateways.networking.istio.io -o yaml`;
  if (passing.length === 0)
    findings.push(
      wrong(
        'gateway',
        `No Gateway opens port ${port} of it in mode AUTO_PASSTHROUGH: granted services are not reachable.`,
        {
          seen: look,
          next: 'The broker writes it from the access file; with --gitops it comes from meshpass policy compile.',
          command: 'meshpass policy compile --help',
        },
      ),
    );
  const wide = passing.find(({ spec }) =>
    spec.servers.some((one: Seen) => one.hosts?.some((host: string) => /^(?:[^/]*\/)?\*$|\*\.local$/.test(host))),
  );
  if (wide)
    findings.push(
      wrong(
        'gateway',
        `Gateway ${namespace}/${wide.metadata.name} lets every host of the mesh through, not only granted ones.`,
        {
          ...{ seen: look, next: 'Remove it: the one that is compiled from the access file names its hosts.' },
          command: `kubectl -n ${namespace} delete gateways.networking.istio.io ${wide.metadata.name}`,
        },
      ),
    );
  return findings.length > 0
    ? findings
    : [fine('gateway', `${selector} in ${namespace}: ready, and open for granted hosts.`, seen)];
}

/** Whether a selector takes Pods with these labels. */
function matches(selector: Record<string, string> | undefined, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}
