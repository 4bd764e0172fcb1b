/** Runs preflight checks before an installation or an upgrade, and reports what the cluster lacks. */

import { type Finding, skippedFinding } from '../../diagnosis/finding.ts';
import { type Check, diagnose, type Findings } from '../../diagnosis/run.ts';
import type { ChartValues } from '../../input/chart-values.ts';
import { type CheckContext, kubernetesEvidence } from '../context.ts';
import { checkIstiod, checkIstioVersion } from '../istiod.ts';
import { CONCURRENCY, kubernetesCheck } from '../run.ts';
import { checkAccess } from './access.ts';
import { checkInstallPermissions, checkRelease } from './installer.ts';
import { checkLoadBalancer, checkNetworkPolicy, checkPublicNames, checkStorage } from './network-and-storage.ts';

export interface PreflightOptions {
  readonly cluster: CheckContext;
  /** The path to the access file to install. If it is omitted, no granted services are checked. */
  readonly access?: string | undefined;
  /** The chart values. If they are omitted, the chart's defaults apply and the public host names are unknown. */
  readonly values?: ChartValues | undefined;
  readonly github?: Check | undefined;
}

/** Runs the preflight checks. Never throws. A failed check produces a finding instead. */
export async function runPreflightChecks({
  cluster: given,
  access,
  values,
  github,
}: PreflightOptions): Promise<readonly Finding[]> {
  const { mesh } = values ?? {};
  const cluster = {
    ...given,
    rootNamespace: mesh?.rootNamespace || given.rootNamespace,
    istiod: mesh?.istiod || given.istiod,
  };
  const inCluster = (run: () => Promise<Findings>, ...names: readonly string[]): Check => ({
    names,
    needs: ['kubernetes'],
    run,
    // If the user may not list a resource, the check reveals nothing about the cluster, so its result is `unknown`.
    onError: (error) => ({ ...kubernetesEvidence(error), ...(error.detail.status === 403 && { state: 'unknown' }) }),
  });
  const checks: readonly Check[] = [
    kubernetesCheck(cluster),
    inCluster(() => checkIstioVersion(cluster), 'istio'),
    inCluster(() => checkIstiod(cluster), 'istiod'),
    inCluster(() => checkAccess(cluster, access, mesh?.clusterDomain || 'cluster.local'), 'access', 'services'),
    inCluster(() => checkStorage(cluster, values), 'storage'),
    inCluster(() => checkLoadBalancer(cluster, values), 'load-balancer'),
    inCluster(() => checkNetworkPolicy(cluster, values), 'network-policy'),
    inCluster(() => checkInstallPermissions(cluster), 'rights'),
    inCluster(() => checkRelease(cluster), 'release'),
    { names: ['names'], run: () => checkPublicNames(values) },
    github ?? {
      names: ['github'],
      run: () => skippedFinding('github', 'Pass --github-app and --github-app-key to query GitHub.'),
    },
  ];
  return await diagnose(checks, CONCURRENCY);
}
