/**
 * The whole data path, side by side in one run: a Codespace through agent, edge, mesh gateway and sidecar, against two peers, a
 * workspace with a stock Istio sidecar that goes straight to the pod, and one that goes through an AUTO_PASSTHROUGH gateway. Same
 * service, same token on every request, same load generator, taken in turns; medians of the rounds. The workspace runs the packages
 * that npm publishes.
 */
import { fileURLToPath } from 'node:url';
import { type Lab, upLab } from '@meshpass/lab';
import { startMeshpass } from '@meshpass/lab/meshpass';
import { median } from '../median.ts';
import { type CpuMicros, cpuOf, PARTS, type SideName } from './cpu.ts';
import type { BulkFigures, RequestFigures } from './load.ts';
import { installPublished } from './published.ts';
import { identityToken, meshpassSide, type Side, stockSides } from './side.ts';

export interface Figures {
  /** Launch to first 200, ms. */
  readonly firstMs: number;
  readonly single: RequestSummary;
  readonly sixteen: RequestSummary;
  /** CPU time by part for a megabyte. */
  readonly bulk: { readonly megabytesPerSecond: number; readonly cpuMicros: CpuMicros };
  /** In the workspace, by part, after all of it. */
  readonly memoryMegabytes: Readonly<Record<string, number>>;
}

export interface RequestSummary {
  readonly perSecond: number;
  readonly medianMicros: number;
  /** Times per request, by part. */
  readonly cpuMicros: CpuMicros;
}

export interface DataPathResult {
  readonly sides: Readonly<Record<SideName, Figures>>;
  readonly rounds: number;
}

export interface DataPathOptions {
  readonly rounds: number;
  /** Results of one measurement. */
  readonly seconds: number;
  readonly progress: (line: string) => void;
}

const HERE = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const BULK_BYTES = 500_000_000;

export async function benchDataPath({ rounds, seconds, progress }: DataPathOptions): Promise<DataPathResult> {
  const published = installPublished(progress);
  const lab = await upLab({ name: 'bench', with: ['stock'], progress });
  try {
    const meshpass = await startMeshpass(lab, { accessFile: HERE('../access.yaml'), progress });
    const header = `x-meshpass-token: ${await identityToken(lab, meshpass)}`;
    const sides = [...(await stockSides(lab, header)), await meshpassSide(lab, meshpass, published)];
    const taken: Record<SideName, Measured[]> = { straight: [], gateway: [], meshpass: [] };
    for (let round = 1; round <= rounds; round++) {
      for (const side of round % 2 ? sides : sides.toReversed()) {
        progress(`round ${round} of ${rounds}: ${side.name}`);
        taken[side.name].push(await measure(lab, side, seconds));
      }
    }
    const figures = sides.map((side) => [side.name, summary(taken[side.name], side.memory())] as const);
    return { rounds, sides: Object.fromEntries(figures) as Record<SideName, Figures> };
  } finally {
    await lab.down();
  }
}

export interface Measured {
  readonly firstMs: number;
  readonly single: RequestFigures & { readonly cpu: CpuMicros };
  readonly sixteen: RequestFigures & { readonly cpu: CpuMicros };
  readonly bulk: BulkFigures & { readonly cpu: CpuMicros };
}

/** Measures a round of one side. CPU time is per request, and in bulk per megabyte. */
export async function measure(lab: Lab, side: Side, seconds: number): Promise<Measured> {
  const firstMs = await firstAnswer(lab, side);
  return {
    firstMs,
    single: await loadRequests(lab, side, 1, seconds),
    sixteen: await loadRequests(lab, side, 16, seconds),
    bulk: await loadBulk(lab, side),
  };
}

export async function loadRequests(lab: Lab, side: Side, connections: number, seconds: number) {
  const { figures, cpu } = await load<RequestFigures>(lab, side, ['requests', '/orders/1', connections, seconds]);
  return { ...figures, cpu: shared(cpu, figures.answers) };
}

export async function loadBulk(lab: Lab, side: Side, bytes = BULK_BYTES) {
  const { figures, cpu } = await load<BulkFigures>(lab, side, ['bulk', `/bytes/${bytes}`, 1, 0]);
  return { ...figures, cpu: shared(cpu, figures.bytes / 1e6) };
}

async function load<T>(
  lab: Lab,
  side: Side,
  [mode, path, connections, seconds]: [string, string, number, number],
): Promise<{ figures: T; cpu: CpuMicros }> {
  const aim = [mode, ...side.service, path, String(connections), String(seconds)];
  const before = cpuOf(lab, PARTS[side.name]);
  const { code, stdout, stderr } = await lab.exec(side.host, ['node', HERE('load.ts'), ...aim, ...side.headers]);
  const after = cpuOf(lab, PARTS[side.name]);
  if (code !== 0) throw new Error(`the load on ${side.host} failed: ${stderr}`);
  const figures = JSON.parse(stdout) as T & { failed: number; cpuMicros: number };
  if (figures.failed > 0) throw new Error(`${figures.failed} requests from ${side.host} failed`);
  const used = Object.keys(after).map((name) => [name, after[name]! - before[name]!]);
  return { figures, cpu: { client: figures.cpuMicros, ...Object.fromEntries(used) } };
}

function shared(cpu: CpuMicros, among: number): CpuMicros {
  return Object.fromEntries(Object.entries(cpu).map(([name, micros]) => [name, micros / among]));
}

/** Restarts a side. @returns time until its first 200, ms */
export async function firstAnswer(lab: Lab, side: Side): Promise<number> {
  await side.halt();
  const poller = lab.spawn(side.host, ['node', HERE('first.ts'), ...side.service, '/orders/1', ...side.headers]);
  let said = '';
  const lines = (count: number) =>
    new Promise<string[]>((resolve, reject) => {
      const look = () => {
        const all = said.split('\n').slice(0, -1);
        if (all.length >= count) resolve(all);
      };
      poller.stdout?.on('data', look);
      poller.on('close', () => {
        look();
        reject(new Error('the poller ended early'));
      });
      look();
    });
  poller.stdout?.prependListener('data', (part: Buffer) => {
    said += part.toString();
  });
  await lines(1);
  const begin = await side.launch();
  const [, at] = await lines(2);
  return Number(at) - begin;
}

function summary(all: readonly Measured[], memoryMegabytes: Figures['memoryMegabytes']): Figures {
  const of = (pick: (one: Measured) => number) => median(all.map(pick));
  const requests = (which: 'single' | 'sixteen') => ({
    perSecond: of((one) => one[which].perSecond),
    medianMicros: of((one) => one[which].medianMicros),
    cpuMicros: cpu((one) => one[which].cpu),
  });
  const cpu = (pick: (one: Measured) => CpuMicros): CpuMicros =>
    Object.fromEntries(Object.keys(pick(all[0]!)).map((name) => [name, of((one) => pick(one)[name]!)]));
  return {
    firstMs: Math.round(of((one) => one.firstMs)),
    single: requests('single'),
    sixteen: requests('sixteen'),
    bulk: { megabytesPerSecond: of((one) => one.bulk.megabytesPerSecond), cpuMicros: cpu((one) => one.bulk.cpu) },
    memoryMegabytes,
  };
}
