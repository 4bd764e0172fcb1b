/** Commands on the hosts of a lab or a cluster: each host is a network namespace with a home of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from './error.ts';
import { installedEnvoy } from './install/tools.ts';
import { enterHost } from './network/enter.ts';
import type { Host } from './plan.ts';
import { type RunResult, run } from './run.ts';
import { isAlive, killUnit, logFile, unitNames } from './unit.ts';

export interface ExecOptions {
  /** Added to PATH, HOME and NODE_EXTRA_CA_CERTS (the CA of the `.test` names). */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string;
  readonly cwd?: string;
  /** User to run as; root where absent. */
  readonly uid?: number;
}

export interface Hosts {
  readonly hosts: Readonly<Record<string, Host>>;
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
   * this process or with the lab or cluster.
   */
  spawn(
    host: string,
    argv: readonly string[],
    options?: Omit<ExecOptions, 'input'> & { readonly log?: string },
  ): ChildProcess;
  /** Names of the processes that run on hosts by themselves, for `kill` and `running`; those in pods are not among them. */
  units(): readonly string[];
  running(unit: string): boolean;
  /** SIGKILL to a unit: `etcd`, `kube-apiserver`, `github`; in a lab also `istiod`, `gateway`, `sidecar-orders`, `postgres`, ... */
  kill(unit: string): Promise<void>;
}

export interface HostsOptions {
  /** State directory, which has logs, homes and units. */
  readonly dir: string;
  readonly hosts: Readonly<Record<string, Host>>;
  /** Path of the CA of the `.test` names. */
  readonly testCa: string;
  /** Additional environment of a host. */
  readonly environment?: (host: string) => Readonly<Record<string, string>>;
  /** The command that runs `argv` on a host. Default: in its network namespace, as the user. */
  readonly enter?: (host: Host, argv: readonly string[], uid: number | undefined) => string[];
}

/** PATH of commands on a host: first the commands of the repository (`meshpass`), then the Node.js that runs this. */
const HOST_PATH = [
  fileURLToPath(new URL('../../node_modules/.bin', import.meta.url)),
  dirname(process.execPath),
  ...(process.env.PATH ?? '').split(':'),
  '/usr/sbin',
  '/sbin',
].join(':');

/** Ends programs on a host of a kept lab together with the program that spawned them. */
const DIE_WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL', '--'];

export function hostsOf({ dir, hosts, testCa, environment, enter }: HostsOptions): Hosts {
  const inside = enter ?? (({ netns }: Host, argv: readonly string[], uid?: number) => enterHost(netns, argv, uid));
  const commandLine: Hosts['commandLine'] = (host, argv, options = {}) => {
    const found = hostNamed(hosts, host);
    const env = {
      PATH: HOST_PATH,
      HOME: homeOf(dir, host),
      LANG: 'C.UTF-8',
      TERM: process.env.TERM,
      NODE_EXTRA_CA_CERTS: testCa,
      CURL_CA_BUNDLE: testCa,
      MESHPASS_ENVOY: installedEnvoy(),
      ...environment?.(host),
      ...options.env,
    };
    return { argv: inside(found, argv, options.uid), env };
  };
  return {
    hosts,
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
  };
}

/** @throws LabError `lab_usage` */
export function hostNamed(hosts: Readonly<Record<string, Host>>, name: string): Host {
  const found = hosts[name];
  if (found) return found;
  throw new LabError('lab_usage', `There is no host "${name}": ${Object.keys(hosts).join(', ')}.`);
}

/** Each host has its own home and temporary files, although they share the machine's disk. */
function homeOf(dir: string, host: string): string {
  const home = join(dir, 'hosts', host, 'home');
  if (!existsSync(home)) {
    mkdirSync(home, { recursive: true });
    chmodSync(home, 0o1777);
  }
  return home;
}
