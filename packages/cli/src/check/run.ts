/** Every check of an installation, in the order in which one needs the other. */
import type { HostPort } from '../command/host-port.ts';
import type { Finding } from '../doctor/line.ts';
import { checkBroker } from './broker.ts';
import { attempt, type CheckContext } from './context.ts';
import { checkIssued } from './issued.ts';
import { checkIstiod, checkRoots } from './istiod.ts';
import { checkKubectl } from './kubectl.ts';
import { checkLeftovers } from './leftovers.ts';
import { checkAdmission, checkGateway, checkKubernetes } from './objects.ts';
import { checkRights } from './rights.ts';
import { checkShown } from './shown.ts';
import { checkWorkloads } from './workloads.ts';

export interface CheckOptions extends Omit<OutsideOptions, 'namespace' | 'now'> {
  readonly cluster: CheckContext;
}

/** What needs no right in the cluster. */
export interface OutsideOptions {
  /** Of the release, for the commands that are named. */
  readonly namespace: string;
  /** Origin of the operator listener; absent: not asked. */
  readonly operator?: string | undefined;
  readonly broker?: HostPort | undefined;
  readonly edge?: HostPort | undefined;
  /** PEM of a CA that agents trust, too; absent: Node's own roots. */
  readonly ca?: string | undefined;
  /** What GitHub says of the App; absent: not asked. */
  readonly github?: (() => Promise<readonly Finding[]>) | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Never throws for what it looks at: that is in the findings. */
export async function runChecks({ cluster, ...outside }: CheckOptions): Promise<readonly Finding[]> {
  const reached = await attempt('kubernetes', () => checkKubernetes(cluster), {
    next: 'Check the kubeconfig.',
    command: 'kubectl cluster-info',
  });
  const inCluster = [
    ['workloads', checkWorkloads],
    ['rights', checkRights],
    ['rights', checkLeftovers],
    ['admission', checkAdmission],
    ['istiod', checkIstiod],
    ['roots', checkRoots],
    ['gateway', checkGateway],
    ['certificates', checkIssued],
    ['kubectl', checkKubectl],
  ] as const;
  const isReached = reached.every(({ state }) => state !== 'failed');
  const skipped = [...new Set(inCluster.map(([check]) => check))].map((check) => notAsked(check, 'Not reached.'));
  const found = isReached
    ? await Promise.all(inCluster.map(([check, look]) => attempt(check, () => look(cluster))))
    : [skipped];
  const asked = await runOutside({ ...outside, namespace: cluster.namespace, now: cluster.now });
  return [...reached, ...found.flat(), ...asked];
}

/** Those that need no right in the cluster. */
export async function runOutside({
  namespace,
  operator,
  broker,
  edge,
  ca,
  github,
  now,
}: OutsideOptions): Promise<readonly Finding[]> {
  const shown = { namespace, ca, now: now() };
  const found = await Promise.all([
    operator
      ? checkBroker(operator, namespace)
      : [notAsked('broker', 'Give --operator to ask the broker about database and readiness.')],
    broker
      ? checkShown('broker', broker, shown)
      : [notAsked('certificates', 'Give --broker-address to look at its certificate.')],
    edge
      ? checkShown('edge', edge, shown)
      : [notAsked('certificates', 'Give --edge-address to look at its certificate.')],
    github ? github() : [notAsked('github', 'Give --github-app and --github-app-key to ask GitHub.')],
  ]);
  return found.flat();
}

function notAsked(check: string, says: string): Finding {
  return { check, state: 'skipped', says };
}
