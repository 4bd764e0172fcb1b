/**
 * `npm run bench -- --report`: keeps what was measured in `docs/performance/results.json`, each part with its day and machine, and
 * writes `docs/performance.md` and its plots from that file. A part that did not run keeps what it had.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataPathResult } from '../data-path/bench.ts';
import type { SideName } from '../data-path/cpu.ts';
import type { LineResult } from '../internet/bench.ts';
import { bulkRatio, GOALS } from '../internet/print.ts';
import { PLOTS, page, type Results, type Taken } from './page.ts';
import { barPanels, curvePanels, stackedBars } from './plots.ts';
import { PALETTE } from './svg.ts';

export interface Measured {
  readonly dataPath: DataPathResult | undefined;
  readonly internet: readonly LineResult[] | undefined;
}

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));
const SIDES: Readonly<Record<SideName, string>> = { straight: 'straight', gateway: 'gateway', meshpass: 'Meshpass' };

/** @param docs folder of the page. @returns the files that were written */
export function report({ dataPath, internet }: Measured, docs = DOCS): readonly string[] {
  const folder = join(docs, 'performance');
  mkdirSync(folder, { recursive: true });
  const resultsFile = join(folder, 'results.json');
  const before = existsSync(resultsFile) ? (JSON.parse(readFileSync(resultsFile, 'utf8')) as Results) : {};
  const results: Results = {
    ...before,
    ...(dataPath && { dataPath: taken(dataPath) }),
    ...(internet && { internet: taken(internet) }),
  };
  const files: readonly (readonly [string, string])[] = [
    [resultsFile, `${JSON.stringify(results, null, 2)}\n`],
    [join(docs, 'performance.md'), page(results)],
    ...[...plots(results)].map(([name, svg]) => [join(folder, name), svg] as const),
  ];
  for (const [file, content] of files) writeFileSync(file, content);
  return files.map(([file]) => file);
}

function taken<T>(result: T): Taken<T> {
  const load = Math.round(loadavg()[1]! * 10) / 10;
  const machine = { processors: cpus().length, kernel: `${type()} ${release().replace(/-.*/, '')}`, load };
  return { day: new Date().toISOString().slice(0, 10), machine, result };
}

function* plots({ dataPath, internet }: Results): Generator<readonly [name: string, svg: string]> {
  if (dataPath) yield* dataPathPlots(dataPath.result);
  if (internet) yield [PLOTS.internet, internetPlot(internet.result)];
}

function* dataPathPlots({ sides }: DataPathResult): Generator<readonly [name: string, svg: string]> {
  const names = Object.keys(SIDES) as SideName[];
  const of = (pick: (side: SideName) => number) => names.map(pick);
  const titles = names.map((name) => SIDES[name]);
  const panels = [
    { title: 'requests/s, 1 connection', values: of((name) => sides[name].single.perSecond) },
    { title: 'requests/s, 16 connections', values: of((name) => sides[name].sixteen.perSecond) },
    { title: 'median, 1 connection, us', values: of((name) => sides[name].single.medianMicros) },
    { title: 'bulk, MB/s', values: of((name) => sides[name].bulk.megabytesPerSecond) },
  ];
  yield [PLOTS.requests, barPanels('Requests, latency and bulk', titles, panels)];
  const rows = (pick: (side: SideName) => Readonly<Record<string, number>>) =>
    names.map((name) => ({ label: SIDES[name], parts: pick(name) }));
  const cpu = rows((name) => sides[name].sixteen.cpuMicros);
  yield [PLOTS.cpu, stackedBars('CPU time for a request, 16 connections', 'us', cpu)];
  const memory = rows((name) => sides[name].memoryMegabytes);
  yield [PLOTS.memory, stackedBars('Resident memory in the workspace', 'MB', memory)];
}

/** Lines without loss: one with loss has no place on the axis. */
function internetPlot(results: readonly LineResult[]): string {
  const lines = results
    .filter(({ line }) => line.lossPercent === 0)
    .toSorted((a, b) => a.line.roundTripMs - b.line.roundTripMs);
  const axis = lines.map(({ line }) => line.roundTripMs);
  const values = (pick: (one: LineResult['sides']['gateway']) => number) =>
    (['gateway', 'meshpass'] as const).map((side) => lines.map(({ sides }) => pick(sides[side])));
  // The colours of the same sides in the other plots.
  const series = [
    { name: SIDES.gateway, colour: PALETTE[1] },
    { name: SIDES.meshpass, colour: PALETTE[2] },
  ];
  return curvePanels('Over the internet, by round trip', series, axis, 'round trip, ms', [
    { title: 'launch to first 200, ms', values: values((one) => one.upMs), goal: axis.map(GOALS.upMs) },
    { title: 'first call, ms', values: values((one) => one.firstCallMs), goal: axis.map(GOALS.firstCallMs) },
    { title: 'later call, ms', values: values((one) => one.newConnectionMs), goal: axis.map(GOALS.laterCallMs) },
    { title: 'bulk, of plain TLS', values: values(bulkRatio), goal: axis.map(() => GOALS.bulk) },
  ]);
}
