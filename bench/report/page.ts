/** `docs/performance.md`, as text, from the measurements. */
import type { DataPathResult, Figures } from '../data-path/bench.ts';
import { total } from '../data-path/print.ts';
import type { LineResult } from '../internet/bench.ts';
import { bulkRatio, GOALS } from '../internet/print.ts';
import { short } from './svg.ts';

export interface Machine {
  readonly processors: number;
  /** `Linux 6.12.0` */
  readonly kernel: string;
  /** Average of the last five minutes, at the end. */
  readonly load: number;
}

/** Result of one part of the benchmarks, with time and machine. */
export interface Taken<T> {
  /** ISO 8601, the day. */
  readonly day: string;
  readonly machine: Machine;
  readonly result: T;
}

export interface Results {
  readonly dataPath?: Taken<DataPathResult>;
  readonly internet?: Taken<readonly LineResult[]>;
}

/** File names of the plots beside the page. */
export const PLOTS = {
  requests: 'requests.svg',
  cpu: 'cpu.svg',
  memory: 'memory.svg',
  internet: 'internet.svg',
} as const;

/** Load for each processor above which figures mean nothing; the benchmark itself makes one of two. */
const BUSY = 3;

export function page({ dataPath, internet }: Results): string {
  const parts = [INTRODUCTION, dataPath && dataPathSection(dataPath), internet && internetSection(internet)];
  return `${parts.filter((part) => part !== undefined).join('\n')}`;
}

const INTRODUCTION = `# Performance

What a Codespace's traffic costs, beside what a stock Istio sidecar costs in the same run. Two peers: a sidecar that connects
**straight** to the pod, and one that goes through an east-west **gateway** (AUTO_PASSTHROUGH), which is what one would set up instead
of Meshpass; that road has one hop and one TLS less. All carry the same token on every request, to the same service.

\`npm run bench -- --report\` measures on one machine, writes the figures to [\`performance/results.json\`](performance/results.json), and
writes this page with its plots from them. Everything runs on that machine, the load too: compare ratios, not absolute figures.
`;

function dataPathSection(taken: Taken<DataPathResult>): string {
  const { result } = taken;
  const { straight, gateway, meshpass } = result.sides;
  const row = (what: string, unit: string, pick: (figures: Figures) => number, goal = ''): string => {
    const [first, second, ours] = [pick(straight), pick(gateway), pick(meshpass)];
    const ratios = `${(ours / first).toFixed(2)} | ${(ours / second).toFixed(2)}`;
    return `| ${what} | ${short(first)}${unit} | ${short(second)}${unit} | ${short(ours)}${unit} | ${ratios} | ${goal} |`;
  };
  const memory = (figures: Figures) => total(figures.memoryMegabytes);
  return `## On one machine

${measured(taken, result.rounds)}

| | straight | gateway | Meshpass | to straight | to gateway | goal, to gateway |
| --- | --- | --- | --- | --- | --- | --- |
${row('launch to first 200', ' ms', (one) => one.firstMs)}
${row('requests a second, 1 connection', '', (one) => one.single.perSecond)}
${row('median latency, 1 connection', ' us', (one) => one.single.medianMicros, 'at most 1.3')}
${row('requests a second, 16 connections', '', (one) => one.sixteen.perSecond, 'at least 1.1')}
${row('median latency, 16 connections', ' us', (one) => one.sixteen.medianMicros)}
${row('bulk download, MB/s', '', (one) => one.bulk.megabytesPerSecond, 'at least 0.8')}
${row('CPU of the whole road for a request, 16 connections', ' us', (one) => total(one.sixteen.cpuMicros))}
${row('resident memory in the workspace', ' MB', memory, 'at most 150 MB')}

![Requests, latency and bulk of the three sides](performance/${PLOTS.requests})

![CPU time for a request by part of the road](performance/${PLOTS.cpu})

![Resident memory in the workspace by part](performance/${PLOTS.memory})
`;
}

function internetSection(taken: Taken<readonly LineResult[]>): string {
  const rows = taken.result.flatMap(({ line, sides }) => {
    const title = `${line.roundTripMs} ms${line.lossPercent ? `, ${line.lossPercent} % lost` : ''}`;
    const cells = (side: 'gateway' | 'meshpass') => {
      const one = sides[side];
      const times = [one.upMs, one.firstCallMs, one.newConnectionMs, one.keptConnectionMs].map((ms) => Math.round(ms));
      const bulk = [
        short(one.bulkMegabytesPerSecond),
        short(one.plainTlsMegabytesPerSecond),
        bulkRatio(one).toFixed(2),
      ];
      return [...times, ...bulk].join(' | ');
    };
    const later = GOALS.laterCallMs(line.roundTripMs);
    const goals = [GOALS.upMs(line.roundTripMs), GOALS.firstCallMs(line.roundTripMs), later, later, '', '', GOALS.bulk];
    return [
      `| ${title} | gateway | ${cells('gateway')} |`,
      `| | Meshpass | ${cells('meshpass')} |`,
      `| | *goal* | ${goals.join(' | ')} |`,
    ];
  });
  return `## Over the internet

A line with a round trip, and with a loss where one is named, lies between the workspace and the edge, or between the stock sidecar's
host and everything else ([how](../lab/README.md#a-line-with-a-delay)). ${measured(taken)}

| Round trip | | launch to first 200, ms | first call, ms | later, new connection | later, kept | bulk, MB/s | plain TLS, MB/s | ratio |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

![Launch, first call and later calls by round trip](performance/${PLOTS.internet})

The goals are at most ${GOALS.upMs(0)} ms and 7 round trips for the launch, 2 round trips for a first call, one and 5 ms for a later one, and
at least ${GOALS.bulk} of one plain TLS connection over the same line for bulk.
`;
}

function measured({ day, machine }: Taken<unknown>, rounds?: number): string {
  const { processors, kernel, load } = machine;
  const times = rounds === 1 ? '; one round' : `; medians of ${rounds} rounds taken in turns`;
  const where = `Measured on ${day} on ${processors} processors, ${kernel}, load average ${load}${rounds ? times : ''}.`;
  if (load < processors * BUSY) return where;
  return `${where}
**Other programs had most of the processors: these figures show that the benchmark works, and not what anything costs.**`;
}
