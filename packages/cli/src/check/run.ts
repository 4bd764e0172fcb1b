/** Every check of an installation, in the order in which one needs the other. */
import type { HostPort } from '../command/host-port.ts';
import type { Finding } from '../doctor/line.ts';
import { checkBroker, checkShown } from './broker.ts';
import { attempt, type CheckContext } from './context.ts';
import { checkIstiod, checkRoots } from './istiod.ts';
import { checkAdmission, checkGateway, checkKubernetes, checkWorkloads } from './objects.ts';
import { checkRights } from './rights.ts';

export interface CheckOptions {
  readonly cluster: CheckContext;
  /** Origin of the operator listener; absent: not asked. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** What GitHub says of the App; absent: not asked. */
  readonly github?: (() => Promise<readonly Finding[]>) | undefined;
}

/** Never throws for what it looks at: that is in the findings. */
export async function runChecks({
  cluster,
  operator,
  broker,
  edge,
  github,
}: CheckOptions): Promise<readonly Finding[]> {
  const reached = await attempt('kubernetes', () => checkKubernetes(cluster), {
    next: 'Check the kubeconfig.',
    command: 'kubectl cluster-info',
  });
  const inCluster = [
    ['workloads', checkWorkloads],
    ['rights', checkRights],
    ['admission', checkAdmission],
    ['istiod', checkIstiod],
    ['roots', checkRoots],
    ['gateway', checkGateway],
  ] as const;
  const isReached = reached.every(({ state }) => state !== 'failed');
  const found = await Promise.all([
    ...inCluster.map(async ([check, look]) =>
      isReached ? await attempt(check, () => look(cluster)) : [notAsked(check, 'Not reached.')],
    ),
    operator
      ? checkBroker(operator, cluster.namespace)
      : [notAsked('broker', 'Give --operator to ask the broker about database and readiness.')],
    broker
      ? checkShown('certificates', broker, cluster.now())
      : [notAsked('certificates', 'Give --broker-address to look at its certificate.')],
    edge
      ? checkShown('certificates', edge, cluster.now())
      : [notAsked('certificates', 'Give --edge-address to look at its certificate.')],
    github ? github() : [notAsked('github', 'Give --github-app and --github-app-key to ask GitHub.')],
  ]);
  return [...reached, ...found.flat()];
}

function notAsked(check: string, says: string): Finding {
  return { check, state: 'skipped', says };
}
