/** Runs all installation checks in the order of their dependencies. */
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

/** The options for the checks that run outside the cluster and do not need access to it. */
export interface OutsideOptions {
  /** The namespace of the Helm release, used in the suggested commands. */
  readonly namespace: string;
  /** The origin of the operator listener. If it is omitted, the listener is not checked. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** An additional CA that agents trust, in PEM format. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** The check of the GitHub App. If it is omitted, the check is skipped. */
  readonly github?: Check | undefined;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
}

/** The maximum number of checks that run at the same time. */
export const CONCURRENCY = 8;

/** Runs the checks both inside and outside the cluster. Never throws. A failed check produces a finding instead. */
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

/** Returns the check that verifies the Kubernetes version. All in-cluster checks depend on it. */
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
