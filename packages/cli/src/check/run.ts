/** Runs all checks of an installation, in dependency order. */
import type { HostPort } from '../command/flag.ts';
import { type Finding, skippedFinding } from '../diagnosis/finding.ts';
import { type Check, diagnose, type Findings } from '../diagnosis/run.ts';
import { checkBroker } from './broker.ts';
import { checkIssuedCertificates, checkPublicAddress } from './certificates.ts';
import { type CheckContext, kubernetesEvidence } from './context.ts';
import { checkIstiod, checkRoots } from './istiod.ts';
import { checkKubectl } from './kubectl.ts';
import { checkAdmissionPolicies, checkGateway, checkKubernetes } from './objects.ts';
import { checkBrokerPermissions, checkLeftovers } from './rights.ts';
import { checkWorkloads } from './workloads.ts';

export interface CheckOptions extends Omit<OutsideOptions, 'namespace' | 'now'> {
  readonly cluster: CheckContext;
}

/** Options for the checks that run from outside, without access to the cluster. */
export interface OutsideOptions {
  /** Namespace of the Helm release, used in suggested commands. */
  readonly namespace: string;
  /** Origin of the operator listener. Omit to skip its check. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** Additional CA that agents trust, in PEM. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** Checks the GitHub App. Omit to skip the check. */
  readonly github?: Check | undefined;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
}

/** Maximum number of concurrent checks. */
export const CONCURRENCY = 8;

/** Runs the checks in the cluster and from outside. Never throws: a failed check produces a finding. */
export async function runChecks({ cluster, ...outside }: CheckOptions): Promise<readonly Finding[]> {
  const inCluster = (name: string, ...looks: readonly ((context: CheckContext) => Promise<Findings>)[]) => ({
    names: [name],
    needs: ['kubernetes'],
    run: async () => (await Promise.all(looks.map((look) => look(cluster)))).flat(),
    onError: kubernetesEvidence,
  });
  const checks = [
    kubernetesCheck(cluster),
    inCluster('workloads', checkWorkloads),
    inCluster('rights', checkBrokerPermissions, checkLeftovers),
    inCluster('admission', checkAdmissionPolicies),
    inCluster('istiod', checkIstiod),
    inCluster('roots', checkRoots),
    inCluster('gateway', checkGateway),
    inCluster('certificates', checkIssuedCertificates),
    inCluster('kubectl', checkKubectl),
    ...outsideChecks({ ...outside, namespace: cluster.namespace, now: cluster.now }),
  ];
  return await diagnose(checks, CONCURRENCY);
}

/** Returns the check of the Kubernetes version. All in-cluster checks depend on it. */
export function kubernetesCheck(cluster: CheckContext): Check {
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

/** Runs only the checks that do not need access to the cluster. */
export async function runOutsideChecks(options: OutsideOptions): Promise<readonly Finding[]> {
  return await diagnose(outsideChecks(options), CONCURRENCY);
}

function outsideChecks({ namespace, operator, broker, edge, ca, github, now }: OutsideOptions): readonly Check[] {
  const check = (name: string, run: (() => Promise<Findings>) | undefined, otherwise: string): Check => ({
    names: [name],
    run: run ?? (() => skippedFinding(name, otherwise)),
  });
  const shown = { namespace, ca, now: now() };
  return [
    check(
      'broker',
      operator === undefined ? undefined : () => checkBroker(operator, namespace),
      'Pass --operator to query the broker about its database and readiness.',
    ),
    check(
      'certificates',
      broker && (() => checkPublicAddress('broker', broker, shown)),
      'Pass --broker-address to check its certificate.',
    ),
    check(
      'certificates',
      edge && (() => checkPublicAddress('edge', edge, shown)),
      'Pass --edge-address to check its certificate.',
    ),
    github ?? check('github', undefined, 'Pass --github-app and --github-app-key to query GitHub.'),
  ];
}
