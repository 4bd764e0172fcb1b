/** The lab for programs: tests, the quickstart, the benchmarks. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { certificatePaths } from './certificates.ts';
import { down } from './down.ts';
import { LabError } from './error.ts';
import { type Hosts, hostNamed, hostsOf } from './hosts.ts';
import { connectKubernetes, type Kubernetes } from './kubernetes.ts';
import { hold, holdForGood, release } from './leases.ts';
import { withLock } from './lock.ts';
import { type Line, layLine, removeLine } from './network/delay-line.ts';
import { GATEWAY_PORT, isOptionalHost, OPTIONAL_HOSTS, planLab } from './plan.ts';
import { checkName, DEFAULT_NAME, type LabRecord, readRecord, stateDir } from './state.ts';
import { killUnit, runUnit, unitOf } from './unit.ts';
import { up } from './up.ts';

export interface UpOptions {
  /** Default: `MESHPASS_LAB`, or "meshpass". Labs of different names run side by side. */
  readonly name?: string;
  /** Gets a line for each step. */
  readonly progress?: (line: string) => void;
  /**
   * Optional hosts: `stock` (a workspace with a stock Istio sidecar), `echo-v1`, `echo-v2`, `ingress`, `gateway-api`, `staging`, `ambient` (all
   * hosts of ambient mode, which a lab has from its start or not at all), `workspace-2` to `workspace-9`.
   */
  readonly with?: readonly string[];
  /** Install Gateway API's CustomResourceDefinitions, which istiod then serves until the lab goes down. */
  readonly gatewayApi?: boolean;
  /** Leave the lab running when this process ends. Without it the lab goes down with the last process that uses it. */
  readonly keep?: boolean;
}

export interface Lab extends Hosts {
  readonly name: string;
  /** State directory: logs/, tls/NAME.crt and .key, kubeconfig. */
  readonly dir: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly versions: Readonly<Record<string, string>>;
  /** host:port, for a host of the cluster network. */
  readonly istiodAddress: string;
  readonly gatewayAddress: string;
  /** Path of the CA of the `.test` names and of the Kubernetes API. */
  readonly testCa: string;
  readonly kubernetes: Kubernetes;
  /** Root certificate of the mesh. */
  rootCaPem(): string;
  /** Kills a running unit, starts it again unchanged, and waits until it is ready. */
  restart(unit: string): Promise<void>;
  /**
   * Puts a line with a delay between a host and its network, replacing an existing line; without `line` it is as it was.
   * @throws LabError `lab_usage` for a line that cannot be
   */
  delay(host: string, line?: Line): Promise<void>;
  /** Lets go of the lab: it goes down unless it is kept or another process uses it. @param force takes it down anyway */
  down(options?: { readonly force?: boolean }): Promise<void>;
}

/**
 * Starts the lab, or attaches to the one of that name that runs.
 * @throws LabError
 */
export async function upLab(options: UpOptions = {}): Promise<Lab> {
  const name = checkName(options.name ?? labName());
  const { with: extra = [], gatewayApi = false } = options;
  const unknown = extra.find((host) => !isOptionalHost(host));
  if (unknown)
    throw new LabError(
      'lab_usage',
      `There is no optional host "${unknown}": ${OPTIONAL_HOSTS.join(', ')}, workspace-2 to workspace-9.`,
    );
  const progress = options.progress ?? (() => {});
  const work = async (): Promise<Lab> => {
    const record = await up(name, { extra, gatewayApi }, progress).catch(async (error) => {
      // If a person starts the lab, its logs stay until the next `up` or `down`.
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

function makeLab(record: LabRecord, letGo: (() => void) | undefined): Lab {
  const { name } = record;
  const dir = stateDir(name);
  const plan = planLab(name, record.subnet, record.extra);
  const certificates = certificatePaths(dir);
  const ip = (host: string): string => plan.hosts[host]?.ip ?? '';

  const { testCa } = certificates;
  const hosts = hostsOf({
    dir,
    hosts: plan.hosts,
    testCa,
    environment: (host): Record<string, string> => (host === 'control' ? { KUBECONFIG: join(dir, 'kubeconfig') } : {}),
  });

  return {
    ...hosts,
    name,
    dir,
    kubeconfig: join(dir, 'kubeconfig'),
    versions: record.versions,
    istiodAddress: `${ip('control')}:15012`,
    gatewayAddress: `${ip('gateway')}:${GATEWAY_PORT}`,
    testCa,
    kubernetes: connectKubernetes(`https://${ip('control')}:6443`, join(dir, 'admin.token'), testCa),
    rootCaPem: () => readFileSync(certificates.meshCa, 'utf8'),
    restart: async (unit) => {
      await killUnit(dir, unit);
      const found = unitOf(dir, unit);
      if (found) await runUnit(dir, found);
    },
    delay: async (host, line) => {
      if (line) await layLine(dir, plan, hostNamed(plan.hosts, host), line);
      else await removeLine(dir, plan, hostNamed(plan.hosts, host));
    },
    down: ({ force = false } = {}) =>
      withLock(lockOf(name), async () => {
        letGo?.();
        if (force || release(dir)) await down(name);
      }),
  };
}
