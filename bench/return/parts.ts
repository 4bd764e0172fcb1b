/** CPU and memory of broker, edge and istiod, and istiod's signatures as its own metrics have them. */
import { readFileSync } from 'node:fs';
import { cpuMicros, processesIn } from '../data-path/cpu.ts';
import { residentMegabytes } from '../sessions/bench.ts';
import type { World } from './world.ts';

export const PARTS = ['broker', 'edge', 'istiod'] as const;
export type PartName = (typeof PARTS)[number];

export interface PartUse {
  /** Share of one core, 0 to 1, on average. */
  readonly cores: number;
  /** Highest resident memory, MB. */
  readonly megabytes: number;
}

export interface PartsWatch {
  stop(): Promise<{ readonly parts: Readonly<Record<PartName, PartUse>>; readonly signed: number }>;
}

const SAMPLE_MS = 500;
const ISTIOD_METRICS_PORT = 15014;
const NODE = ['node', 'node-MainThread', 'MainThread'];

/** Parts that must run from now on: all three. */
export async function watchParts({ lab }: Pick<World, 'lab'>): Promise<PartsWatch> {
  const node = (verb: string) =>
    processesIn(lab, 'meshpass', NODE).find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(verb),
    );
  const pids: Readonly<Record<PartName, number | undefined>> = {
    broker: node('serve'),
    edge: node('edge'),
    istiod: processesIn(lab, 'control', ['pilot-discovery', 'pilot-discover'])[0],
  };
  const each = <T>(of: (pid: number) => T) =>
    Object.fromEntries(
      PARTS.map((name) => {
        const pid = pids[name];
        if (pid === undefined) throw new Error(`${name} does not run`);
        return [name, of(pid)];
      }),
    ) as Record<PartName, T>;
  const signedBefore = await signatures(lab);
  const before = each(cpuMicros);
  const began = performance.now();
  const highest = each(residentMegabytes);
  const sample = () => {
    const now = each(residentMegabytes);
    for (const name of PARTS) highest[name] = Math.max(highest[name], now[name]);
  };
  const timer = setInterval(sample, SAMPLE_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      sample();
      const micros = (performance.now() - began) * 1000;
      const after = each(cpuMicros);
      const use = (name: PartName): PartUse => ({
        cores: (after[name] - before[name]) / micros,
        megabytes: highest[name],
      });
      return {
        parts: { broker: use('broker'), edge: use('edge'), istiod: use('istiod') },
        signed: (await signatures(lab)) - signedBefore,
      };
    },
  };
}

/** Certificates that istiod has signed since it began. */
async function signatures(lab: World['lab']): Promise<number> {
  const text = await (await fetch(`http://${lab.hosts.control!.ip}:${ISTIOD_METRICS_PORT}/metrics`)).text();
  return Number(/^citadel_server_success_cert_issuance_count (\S+)$/m.exec(text)?.[1] ?? 0);
}
