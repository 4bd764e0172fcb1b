/** The lab for programs: tests, the quickstart, the benchmarks. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { certificatePaths } from './certificates.ts';
import { down } from './down.ts';
import { LabError } from './error.ts';
import { installedEnvoy } from './install/tools.ts';
import { connectKubernetes, type Kubernetes } from './kubernetes.ts';
import { hold, holdForGood, release } from './leases.ts';
import { withLock } from './lock.ts';
import { type Line, layLine, removeLine } from './network/delay-line.ts';
import { enterHost } from './network/enter.ts';
import { GATEWAY_PORT, type Host, isOptionalHost, OPTIONAL_HOSTS, planLab } from './plan.ts';
import { type RunResult, run } from './run.ts';
import { checkName, DEFAULT_NAME, type LabRecord, readRecord, stateDir } from './state.ts';
import { isAlive, killUnit, logFile, runUnit, unitNames, unitOf } from './unit.ts';
import { up } from './up.ts';

export interface UpOptions {
  /** Default: `MESHPASS_LAB`, or "meshpass". Labs of different names run side by side. */
  readonly name?: string;
  /** Gets a line for each step. */
  readonly progress?: (line: string) => void;
  /** Optional hosts: `stock` (a workspace with a stock Istio sidecar), `echo-v1`, `echo-v2`, `workspace-2` to `workspace-9`. */
  readonly with?: readonly string[];
  /** Leave the lab running when this process ends. Without it the lab goes down with the last process that uses it. */
  readonly keep?: boolean;
}

export interface ExecOptions {
  /** Added to PATH, HOME and NODE_EXTRA_CA_CERTS (the lab's CA for the `.test` names). */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string;
  readonly cwd?: string;
  /** User to run as; root where absent. */
  readonly uid?: number;
}

export interface Lab {
  readonly name: string;
  /** State directory: logs/, tls/NAME.crt and .key, kubeconfig. */
  readonly dir: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly hosts: Readonly<Record<string, Host>>;
  readonly versions: Readonly<Record<string, string>>;
  /** host:port, for a host of the cluster network. */
  readonly istiodAddress: string;
  readonly gatewayAddress: string;
  /** Path of the CA of the `.test` names and of the Kubernetes API. */
  readonly testCa: string;
  readonly kubernetes: Kubernetes;
  /** Root certificate of the mesh. */
  rootCaPem(): string;
  /** The command and environment that run `argv` on a host, for callers that spawn it themselves. */
  commandLine(
    host: string,
    argv: readonly string[],
    options?: ExecOptions,
  ): { readonly argv: string[]; readonly env: Record<string, string | undefined> };
  /** Runs a command on a host to its end. */
  exec(host: string, argv: readonly string[], options?: ExecOptions): Promise<RunResult>;
  /**
   * Starts a command on a host. Its output goes to DIR/logs/LOG.log where `log` is given, else to pipes. It ends with
   * this process or with the lab.
   */
  spawn(
    host: string,
    argv: readonly string[],
    options?: Omit<ExecOptions, 'input'> & { readonly log?: string },
  ): ChildProcess;
  /** Names of the lab's processes, for `kill`, `restart` and `running`. */
  units(): readonly string[];
  running(unit: string): boolean;
  /** SIGKILL to `etcd`, `kube-apiserver`, `istiod`, `gateway`, `sidecar-orders`, `app-orders`, `postgres`, `github`, ... */
  kill(unit: string): Promise<void>;
  /** Kills it where it runs, starts it again as it was, waits until it is ready. */
  restart(unit: string): Promise<void>;
  /**
   * Puts a line with a delay between a host and its network, in place of one that is there; without `line` it is as it was.
   * @throws LabError `lab_usage` for a line that cannot be
   */
  delay(host: string, line?: Line): Promise<void>;
  /** Lets go of the lab: it goes down unless it is kept or another process uses it. @param force takes it down all the same */
  down(options?: { readonly force?: boolean }): Promise<void>;
}

/**
 * Starts the lab, or attaches to the one of that name that runs.
 * @throws LabError
 */
export async function upLab(options: UpOptions = {}): Promise<Lab> {
  const name = checkName(options.name ?? labName());
  const extra = options.with ?? [];
  const unknown = extra.find((host) => !isOptionalHost(host));
  if (unknown)
    throw new LabError(
      'lab_usage',
      `There is no optional host "${unknown}": ${OPTIONAL_HOSTS.join(', ')}, workspace-2 to workspace-9.`,
    );
  const progress = options.progress ?? (() => {});
  const work = async (): Promise<Lab> => {
    const record = await up(name, extra, progress).catch(async (error) => {
      // For a person the logs stay until the next `up` or `down`.
      if (!options.keep && release(stateDir(name))) await down(name);
      throw error;
    });
    const dir = stateDir(name);
    if (options.keep) holdForGood(dir);
    return makeLab(record, options.keep ? undefined : hold(dir, name));
  };
  return withLock(lockOf(name), work, () => progress(`waiting for another process that works on lab ${name}`));
}

/** The lab of that name that runs. It is not held: it may go down while it is used. @throws LabError `lab_not_running` */
export function findLab(name = labName()): Lab {
  const record = readRecord(checkName(name));
  if (!record?.complete)
    throw new LabError('lab_not_running', `There is no lab ${name}; start it with: npm run lab -- up --name ${name}`);
  return makeLab(record, undefined);
}

/** @returns whether there was anything to take down */
export function downLab(name = labName()): Promise<boolean> {
  return withLock(lockOf(checkName(name)), () => down(name));
}

/** Drops the hold of a process that ended; the last one takes the lab down. */
export function releaseLab(name: string, id: string): Promise<void> {
  return withLock(lockOf(checkName(name)), async () => {
    if (release(stateDir(name), id)) await down(name);
  });
}

export function labName(): string {
  return process.env.MESHPASS_LAB || DEFAULT_NAME;
}

function lockOf(name: string): string {
  return `lab/${name}`;
}

/** Of what runs on a host. Commands of the repository (`meshpass`) come first, then the Node.js that runs this. */
export const HOST_PATH = [
  fileURLToPath(new URL('../../node_modules/.bin', import.meta.url)),
  dirname(process.execPath),
  ...(process.env.PATH ?? '').split(':'),
  '/usr/sbin',
  '/sbin',
].join(':');

/** What a program spawns on a host of a kept lab ends with that program. */
export const DIE_WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL', '--'];

/** Each host has its own home and temporary files, although they share the machine's disk. */
export function homeOf(dir: string, host: string): string {
  const home = join(dir, 'hosts', host, 'home');
  if (!existsSync(home)) {
    mkdirSync(home, { recursive: true });
    chmodSync(home, 0o1777);
  }
  return home;
}

function makeLab(record: LabRecord, letGo: (() => void) | undefined): Lab {
  const { name } = record;
  const dir = stateDir(name);
  const plan = planLab(name, record.subnet, record.extra);
  const certificates = certificatePaths(dir);
  const ip = (host: string): string => plan.hosts[host]?.ip ?? '';

  const hostOf = (host: string): Host => {
    const found = plan.hosts[host];
    if (found) return found;
    throw new LabError('lab_usage', `There is no host "${host}": ${Object.keys(plan.hosts).join(', ')}.`);
  };
  const environment = (host: string, env: ExecOptions['env']): Record<string, string | undefined> => ({
    PATH: HOST_PATH,
    HOME: homeOf(dir, host),
    LANG: 'C.UTF-8',
    TERM: process.env.TERM,
    NODE_EXTRA_CA_CERTS: certificates.testCa,
    CURL_CA_BUNDLE: certificates.testCa,
    MESHPASS_ENVOY: installedEnvoy(),
    ...(host === 'control' && { KUBECONFIG: join(dir, 'kubeconfig') }),
    ...env,
  });

  const commandLine: Lab['commandLine'] = (host, argv, options = {}) => ({
    argv: enterHost(hostOf(host).netns, argv, options.uid),
    env: environment(host, options.env),
  });

  return {
    name,
    dir,
    kubeconfig: join(dir, 'kubeconfig'),
    hosts: plan.hosts,
    versions: record.versions,
    istiodAddress: `${ip('control')}:15012`,
    gatewayAddress: `${ip('gateway')}:${GATEWAY_PORT}`,
    testCa: certificates.testCa,
    kubernetes: connectKubernetes(`https://${ip('control')}:6443`, join(dir, 'admin.token'), certificates.testCa),
    rootCaPem: () => readFileSync(certificates.meshCa, 'utf8'),
    commandLine,
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
    restart: async (unit) => {
      await killUnit(dir, unit);
      const found = unitOf(dir, unit);
      if (found) await runUnit(dir, found);
    },
    delay: async (host, line) => {
      if (line) await layLine(dir, plan, hostOf(host), line);
      else await removeLine(dir, plan, hostOf(host));
    },
    down: ({ force = false } = {}) =>
      withLock(lockOf(name), async () => {
        letGo?.();
        if (force || release(dir)) await down(name);
      }),
  };
}
