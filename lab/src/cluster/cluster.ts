import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from '../error.ts';
import { type Hosts, hostsOf } from '../hosts.ts';
import { type ClusterTools, ensureClusterTools } from '../install/tools.ts';
import { connectKubernetes, type Kubernetes } from '../kubernetes.ts';
import { hold, holdForGood, release } from '../leases.ts';
import { withLock } from '../lock.ts';
import { enterHost } from '../network/enter.ts';
import { type RunOptions, type RunResult, run } from '../run.ts';
import { checkName } from '../state.ts';
import { isAlive } from '../unit.ts';
import { down } from './down.ts';
import { loadImages } from './images/load.ts';
import { enterNode } from './node/namespaces.ts';
import { NODE, planCluster } from './plan.ts';
import { kubeEnvironment } from './software.ts';
import { type ClusterRecord, clusterDir, readCluster } from './state.ts';
import { up } from './up.ts';

export interface ClusterOptions {
  /** Default: `MESHPASS_CLUSTER`, or "meshpass". Clusters of different names run side by side. */
  readonly name?: string;
  /** Gets a line for each step. */
  readonly progress?: (line: string) => void;
  /** Leave the cluster running when this process ends. Without it the cluster goes down with the last process that uses it. */
  readonly keep?: boolean;
}

/** Cluster with the hosts `node` (commands run inside of all its namespaces), `github` (the stand-ins), `operator` and `workspace` (the Codespace). */
export interface Cluster extends Hosts {
  readonly name: string;
  /** State directory: kubeconfig, logs/, tls/NAME.crt and .key. */
  readonly dir: string;
  /** Path of the administrator's kubeconfig, for programs of the root namespace. */
  readonly kubeconfig: string;
  /** Path of the CA of the `.test` names and of the Kubernetes API. */
  readonly testCa: string;
  readonly kubernetes: Kubernetes;
  readonly versions: Readonly<Record<string, string>>;
  readonly binaries: { readonly kubectl: string; readonly helm: string; readonly gitopsAgent: string };
  /** Environment for all of them. */
  environment(): Record<string, string | undefined>;
  kubectl(args: readonly string[], options?: Pick<RunOptions, 'input' | 'cwd'>): Promise<RunResult>;
  helm(args: readonly string[], options?: Pick<RunOptions, 'input' | 'cwd'>): Promise<RunResult>;
  /** Imports an archive of images. @returns their names. @throws LabError `lab_start` with containerd's output */
  load(file: string): Promise<string[]>;
  /** Releases the cluster, which stops unless it is kept or another process uses it. @param force stops it anyway */
  down(options?: { readonly force?: boolean }): Promise<void>;
}

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/**
 * Starts a cluster, or attaches to the one of that name that runs.
 * @throws LabError
 */
export async function upCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const name = checkName(options.name ?? clusterName());
  const progress = options.progress ?? (() => {});
  const work = async (): Promise<Cluster> => {
    const record = await up(name, progress).catch(async (error) => {
      // If a person starts the cluster, its logs stay until the next `up` or `down`.
      if (!options.keep && release(clusterDir(name))) await down(name);
      throw error;
    });
    const dir = clusterDir(name);
    if (options.keep) holdForGood(dir);
    return makeCluster(record, await ensureClusterTools(progress), options.keep ? undefined : hold(dir, name, MAIN));
  };
  return withLock(lockOf(name), work, () => progress(`waiting for another process that works on cluster ${name}`));
}

/** Finds the running cluster of that name, without keeping it alive. @throws LabError `lab_not_running` */
export async function findCluster(name = clusterName()): Promise<Cluster> {
  const record = readCluster(checkName(name));
  if (!record?.complete || !isAlive(clusterDir(name), NODE))
    throw new LabError(
      'lab_not_running',
      `There is no cluster ${name}; start it with: npm run cluster -- up --name ${name}`,
    );
  return makeCluster(record, await ensureClusterTools(() => {}), undefined);
}

/** @returns whether there was anything to take down */
export function downCluster(name = clusterName()): Promise<boolean> {
  return withLock(lockOf(checkName(name)), () => down(name));
}

/** Drops the hold of a process that ended; the last one takes the cluster down. */
export function releaseCluster(name: string, id: string): Promise<void> {
  return withLock(lockOf(checkName(name)), async () => {
    if (release(clusterDir(name), id)) await down(name);
  });
}

export function clusterName(): string {
  return process.env.MESHPASS_CLUSTER || 'meshpass';
}

function lockOf(name: string): string {
  return `cluster/${name}`;
}

function makeCluster(record: ClusterRecord, tools: ClusterTools, letGo: (() => void) | undefined): Cluster {
  const { name, versions } = record;
  const dir = clusterDir(name);
  const plan = planCluster(name, record.subnet);
  const testCa = join(dir, 'tls/ca.crt');
  const { kubectl, helm, gitopsAgent } = tools.cluster;
  const hosts = hostsOf({
    dir,
    hosts: { ...plan.hosts },
    testCa,
    enter: ({ name: host, netns }, argv, uid) =>
      host === NODE ? [...enterNode(dir, dir), ...argv] : enterHost(netns, argv, uid),
  });

  return {
    ...hosts,
    name,
    dir,
    testCa,
    versions,
    kubeconfig: join(dir, 'kubeconfig'),
    kubernetes: connectKubernetes(`https://${plan.hosts.node.ip}:6443`, join(dir, 'admin.token'), testCa),
    binaries: { kubectl, helm, gitopsAgent },
    environment: () => kubeEnvironment(dir),
    kubectl: (args, options = {}) => run([kubectl, ...args], { ...options, env: kubeEnvironment(dir) }),
    helm: (args, options = {}) => run([helm, ...args], { ...options, env: kubeEnvironment(dir) }),
    load: (file) => loadImages(dir, file),
    down: ({ force = false } = {}) =>
      withLock(lockOf(name), async () => {
        letGo?.();
        if (force || release(dir)) await down(name);
      }),
  };
}
