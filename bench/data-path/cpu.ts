/** CPU time of the processes on the data path, by part, because the cost of a request does not depend on other work of the machine. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import type { Lab } from '@meshpass/lab';

/**
 * - `straight`: a stock Istio sidecar that connects to the pod
 * - `gateway`: the same through an AUTO_PASSTHROUGH gateway, as between the networks of a mesh: what one would set up instead
 * - `meshpass`: agent, edge, mesh gateway
 */
export type SideName = 'straight' | 'gateway' | 'meshpass';

/** Microseconds of CPU time since each process began, by part of the data path. */
export type CpuMicros = Readonly<Record<string, number>>;

interface Part {
  readonly name: string;
  readonly host: string;
  /** Process names as in the kernel, see proc_pid_comm(5). */
  readonly programs: readonly string[];
}

// A Node process carries the name of its main thread.
const NODE = ['node', 'node-MainThread', 'MainThread'];
const GATEWAY: Part = { name: 'mesh gateway', host: 'gateway', programs: ['envoy'] };
const SERVICE: readonly Part[] = [
  { name: 'sidecar of the service', host: 'orders', programs: ['envoy'] },
  { name: 'service', host: 'orders', programs: NODE },
];
const STOCK: readonly Part[] = [
  { name: 'Envoy of the workspace', host: 'stock', programs: ['envoy'] },
  { name: 'pilot-agent', host: 'stock', programs: ['pilot-agent'] },
];

export const PARTS: Readonly<Record<SideName, readonly Part[]>> = {
  straight: [...STOCK, ...SERVICE],
  gateway: [...STOCK, GATEWAY, ...SERVICE],
  meshpass: [
    { name: 'Envoy of the workspace', host: 'workspace', programs: ['envoy'] },
    { name: 'agent', host: 'workspace', programs: NODE },
    { name: 'edge (and broker)', host: 'meshpass', programs: NODE },
    GATEWAY,
    ...SERVICE,
  ],
};

/** CPU time that each part has used so far. */
export function cpuOf(lab: Lab, parts: readonly Part[]): CpuMicros {
  return Object.fromEntries(
    parts.map(({ name, host, programs }) => [
      name,
      processesIn(lab, host, programs).reduce((sum, pid) => sum + cpuMicros(pid), 0),
    ]),
  );
}

/** The process ids on a host whose program is one of these. */
export function processesIn(lab: Lab, host: string, programs: readonly string[]): number[] {
  const network = statSync(`/run/netns/${lab.hosts[host]!.netns}`).ino;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && isIn(Number(entry), network, programs))
    .map(Number);
}

function isIn(pid: number, network: number, programs: readonly string[]): boolean {
  try {
    const program = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    return programs.includes(program) && statSync(`/proc/${pid}/ns/net`).ino === network;
  } catch {
    return false; // it has ended
  }
}

/** CPU time that one process has used so far, its threads included; microseconds, from /proc/PID/schedstat: ticks would be 10 ms. */
export function cpuMicros(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + threadMicros(pid, task), 0);
  } catch {
    return 0; // it has ended
  }
}

function threadMicros(pid: number, task: string): number {
  return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}
