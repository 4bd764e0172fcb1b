/** All checks of an installation, in dependency order. */
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

/** Options of the checks that need no permission in the cluster. */
export interface OutsideOptions {
  /** Namespace of the release, for suggested commands. */
  readonly namespace: string;
  /** Origin of the operator listener; if absent, it is not checked. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** PEM of an additional CA that agents trust; defaults to Node's own roots. */
  readonly ca?: string | undefined;
  /** Checks the GitHub App; if absent, it is not checked. */
  readonly github?: Check | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Number of checks that run concurrently. */
export const CONCURRENCY = 8;

/** Runs the checks. Never throws because a check fails: failures are findings. */
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

/** Returns the check of the cluster's version, which the in-cluster checks depend on. */
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

/** Runs the checks that need no permission in the cluster. */
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
