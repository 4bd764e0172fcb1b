/** Runs the checks of an installation, or of a cluster before an installation, in the order of their dependencies. */
import type { MeshpassError } from '@meshpass/identity';
import type { HostPort } from '../command/flag.ts';
import { type Finding, type Findings, skipped } from '../diagnosis/finding.ts';
import { type Check, type CheckedFinding, diagnose } from '../diagnosis/run.ts';
import type { ChartValues } from '../input/chart-values.ts';
import { checkAdmissionPolicies, checkGateway, checkKubernetes } from './admission-and-gateway.ts';
import { checkAccess } from './before/access.ts';
import { checkLoadBalancer, checkNetworkPolicy, checkPublicNames, checkStorage } from './before/network-and-storage.ts';
import { checkBroker } from './broker.ts';
import { checkIssuedCertificates, checkPublicAddress } from './certificates.ts';
import type { CheckContext, Installation } from './context.ts';
import { checkIstiod, checkIstioVersion, checkRoots } from './istiod.ts';
import { checkKubectl } from './kubectl.ts';
import { checkBrokerPermissions, checkInstallPermissions, checkLeftovers } from './rights.ts';
import { checkRelease, checkWorkloads } from './workloads.ts';

export interface CheckOptions {
  /** Without a client for the cluster, only the checks outside the cluster run. */
  readonly cluster: CheckContext | Installation;
  /** The origin of the operator listener. If it is omitted, the listener is not checked. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** An additional CA that agents trust, in PEM format. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** The check of the GitHub App. If it is omitted, the check is skipped. */
  readonly github?: Check | undefined;
}

export interface PreflightOptions extends Pick<CheckOptions, 'github'> {
  readonly cluster: CheckContext;
  /** The path to the access file to install. If it is omitted, no granted services are checked. */
  readonly access?: string | undefined;
  /** The chart values. If they are omitted, the chart's defaults apply and the public host names are unknown. */
  readonly values?: ChartValues | undefined;
}

/** The maximum number of checks that run at the same time. */
const CONCURRENCY = 8;

/** Runs the checks of an installation. Never throws. A failed check produces a finding instead. */
export async function runChecks(options: CheckOptions): Promise<readonly CheckedFinding[]> {
  const { cluster, operator, broker, edge, ca } = options;
  const { namespace } = cluster;
  const shown = { namespace, ca, now: cluster.now() };
  const checks = [
    ...('http' in cluster ? clusterChecks(cluster) : []),
    checkIf(
      'broker',
      operator === undefined ? undefined : () => checkBroker(operator, namespace),
      'Pass --operator to query the broker about its database and readiness.',
    ),
    checkIf(
      'certificates',
      broker && (() => checkPublicAddress('broker', broker, shown)),
      'Pass --broker-address to check its certificate.',
    ),
    checkIf(
      'certificates',
      edge && (() => checkPublicAddress('edge', edge, shown)),
      'Pass --edge-address to check its certificate.',
    ),
    githubCheck(options),
  ];
  return await diagnose(checks, CONCURRENCY);
}

/** Runs the checks before an installation or an upgrade. Never throws. A failed check produces a finding instead. */
export async function runPreflightChecks(options: PreflightOptions): Promise<readonly CheckedFinding[]> {
  const { access, values } = options;
  const { mesh } = values ?? {};
  const cluster = {
    ...options.cluster,
    rootNamespace: mesh?.rootNamespace || options.cluster.rootNamespace,
    istiod: mesh?.istiod || options.cluster.istiod,
  };
  const check = (run: () => Promise<Findings>, ...names: readonly string[]): Check => ({
    names,
    needs: ['kubernetes'],
    run,
    // If the user may not list a resource, the check reveals nothing about the cluster, so its result is `unknown`.
    onError: (error) => ({ ...kubernetesEvidence(error), ...(error.detail.status === 403 && { state: 'unknown' }) }),
  });
  const checks: readonly Check[] = [
    kubernetesCheck(cluster),
    check(() => checkIstioVersion(cluster), 'istio'),
    check(() => checkIstiod(cluster), 'istiod'),
    check(() => checkAccess(cluster, access, mesh?.clusterDomain || 'cluster.local'), 'access', 'services'),
    check(() => checkStorage(cluster, values), 'storage'),
    check(() => checkLoadBalancer(cluster, values), 'load-balancer'),
    check(() => checkNetworkPolicy(cluster, values), 'network-policy'),
    check(() => checkInstallPermissions(cluster), 'rights'),
    check(() => checkRelease(cluster), 'release'),
    { names: ['names'], run: () => checkPublicNames(values) },
    githubCheck(options),
  ];
  return await diagnose(checks, CONCURRENCY);
}

function clusterChecks(cluster: CheckContext): readonly Check[] {
  const check = (name: string, ...looks: readonly ((context: CheckContext) => Promise<Findings>)[]) => ({
    names: [name],
    needs: ['kubernetes'],
    run: async () => (await Promise.all(looks.map((look) => look(cluster)))).flat(),
    onError: kubernetesEvidence,
  });
  return [
    kubernetesCheck(cluster),
    check('workloads', checkWorkloads),
    check('rights', checkBrokerPermissions, checkLeftovers),
    check('admission', checkAdmissionPolicies),
    check('istiod', checkIstiod),
    check('roots', checkRoots),
    check('gateway', checkGateway),
    check('certificates', checkIssuedCertificates),
    check('kubectl', checkKubectl),
  ];
}

/** Returns the check that verifies the Kubernetes version. All checks in the cluster depend on it. */
function kubernetesCheck(cluster: CheckContext): Check {
  return {
    names: ['kubernetes'],
    run: () => checkKubernetes(cluster),
    onError: (error) => ({
      next: 'Check the kubeconfig.',
      command: 'kubectl cluster-info',
      ...kubernetesEvidence(error),
    }),
  };
}

function githubCheck({ github }: Pick<CheckOptions, 'github'>): Check {
  return github ?? checkIf('github', undefined, 'Pass --github-app and --github-app-key to query GitHub.');
}

/** Returns a check that is skipped if the flag that it needs is missing. */
function checkIf(name: string, run: (() => Promise<Findings>) | undefined, otherwise: string): Check {
  return { names: [name], run: run ?? (() => skipped(otherwise)) };
}

/** Describes a failed request to the cluster as evidence for a finding. */
function kubernetesEvidence({ detail: { status, method, path } }: MeshpassError): Partial<Finding> {
  const seen = path === undefined ? {} : { seen: `${method} ${path}${status === undefined ? '' : `: ${status}`}` };
  if (status !== 403) return seen;
  const says = 'This kubeconfig lacks the required permission. Use a different one.';
  return { ...seen, says, command: 'kubectl auth whoami' };
}
