import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from '../error.ts';
import { type ClusterTools, ensureClusterTools, installedEnvoy } from '../install/tools.ts';
import { connectKubernetes, type Kubernetes } from '../kubernetes.ts';
import { DIE_WITH_PARENT, type ExecOptions, HOST_PATH, homeOf } from '../lab.ts';
import { hold, holdForGood, release } from '../leases.ts';
import { withLock } from '../lock.ts';
import { enterHost } from '../network/enter.ts';
import type { Host } from '../plan.ts';
import { type RunOptions, type RunResult, run } from '../run.ts';
import { checkName } from '../state.ts';
import { isAlive, killUnit, logFile, unitNames } from '../unit.ts';
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

export interface Cluster {
  readonly name: string;
  /** State directory: kubeconfig, logs/, tls/NAME.crt and .key. */
  readonly dir: string;
  /** Path of the administrator's kubeconfig, for programs of the root namespace. */
  readonly kubeconfig: string;
  /** `node`, `github` (the stand-ins), `operator` and `workspace` (the Codespace). */
  readonly hosts: Readonly<Record<string, Host>>;
  /** Path of the CA of the `.test` names and of the Kubernetes API. */
  readonly testCa: string;
  readonly kubernetes: Kubernetes;
  readonly versions: Readonly<Record<string, string>>;
  /** Paths of `kubectl` and `helm`. */
  readonly binaries: { readonly kubectl: string; readonly helm: string };
  /** Environment for both. */
  environment(): Record<string, string | undefined>;
  kubectl(args: readonly string[], options?: Pick<RunOptions, 'input' | 'cwd'>): Promise<RunResult>;
  helm(args: readonly string[], options?: Pick<RunOptions, 'input' | 'cwd'>): Promise<RunResult>;
  /** Imports an archive of images. @returns their names. @throws LabError `lab_start` with what containerd said */
  load(file: string): Promise<string[]>;
  /** The command and environment that run `argv` on a host, for callers that spawn it themselves. */
  commandLine(
    host: string,
    argv: readonly string[],
    options?: ExecOptions,
  ): { readonly argv: string[]; readonly env: Record<string, string | undefined> };
  /** Runs a command on a host to its end; on `node` inside of all its namespaces. */
  exec(host: string, argv: readonly string[], options?: ExecOptions): Promise<RunResult>;
  /** Starts a command on a host; it ends with this process or with the cluster. Its output goes to logs/LOG.log, or to pipes. */
  spawn(
    host: string,
    argv: readonly string[],
    options?: Omit<ExecOptions, 'input'> & { readonly log?: string },
  ): ChildProcess;
  /** Names of the processes that are not in pods. */
  units(): readonly string[];
  running(unit: string): boolean;
  /** SIGKILL to a unit. */
  kill(unit: string): Promise<void>;
  /** Lets go of the cluster: it goes down unless it is kept or another process uses it. @param force takes it down all the same */
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
      // For a person the logs stay until the next `up` or `down`.
      if (!options.keep && release(clusterDir(name))) await down(name);
      throw error;
    });
    const dir = clusterDir(name);
    if (options.keep) holdForGood(dir);
    return makeCluster(record, await ensureClusterTools(progress), options.keep ? undefined : hold(dir, name, MAIN));
  };
  return withLock(lockOf(name), work, () => progress(`waiting for another process that works on cluster ${name}`));
}

/** The cluster of that name that runs. It is not held. @throws LabError `lab_not_running` */
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
  const hosts: Readonly<Record<string, Host>> = { ...plan.hosts };
  const testCa = join(dir, 'tls/ca.crt');
  const { kubectl, helm } = tools.cluster;

  const commandLine: Cluster['commandLine'] = (host, argv, options = {}) => {
    const found = hosts[host];
    if (!found) throw new LabError('lab_usage', `There is no host "${host}": ${Object.keys(hosts).join(', ')}.`);
    const env = {
      PATH: HOST_PATH,
      HOME: homeOf(dir, host),
      LANG: 'C.UTF-8',
      TERM: process.env.TERM,
      NODE_EXTRA_CA_CERTS: testCa,
      CURL_CA_BUNDLE: testCa,
      MESHPASS_ENVOY: installedEnvoy(),
      ...options.env,
    };
    const inside = host === NODE ? [...enterNode(dir, dir), ...argv] : enterHost(found.netns, argv, options.uid);
    return { argv: inside, env };
  };

  return {
    ...{ name, dir, hosts, testCa, versions, commandLine },
    kubeconfig: join(dir, 'kubeconfig'),
    kubernetes: connectKubernetes(`https://${plan.hosts.node.ip}:6443`, join(dir, 'admin.token'), testCa),
    binaries: { kubectl, helm },
    environment: () => kubeEnvironment(dir),
    kubectl: (args, options = {}) => run([kubectl, ...args], { ...options, env: kubeEnvironment(dir) }),
    helm: (args, options = {}) => run([helm, ...args], { ...options, env: kubeEnvironment(dir) }),
    load: (file) => loadImages(dir, file),
    exec: async (host, argv, options = {}) => {
      const line = commandLine(host, argv, options);
      return run(line.argv, { ...options, env: line.env });
    },
    spawn: (host, argv, options = {}) => {
      const line = commandLine(host, [...DIE_WITH_PARENT, ...argv], options);
      const log = options.log === undefined ? undefined : openSync(logFile(dir, options.log), 'a');
      const child = spawn(line.argv[0] ?? '', line.argv.slice(1), {
        env: line.env as NodeJS.ProcessEnv,
        stdio: log === undefined ? 'pipe' : ['ignore', log, log],
        ...(options.cwd !== undefined && { cwd: options.cwd }),
      });
      if (log !== undefined) closeSync(log);
      return child;
    },
    units: () => unitNames(dir),
    running: (unit) => isAlive(dir, unit),
    kill: (unit) => killUnit(dir, unit),
    down: ({ force = false } = {}) =>
      withLock(lockOf(name), async () => {
        letGo?.();
        if (force || release(dir)) await down(name);
      }),
  };
}
