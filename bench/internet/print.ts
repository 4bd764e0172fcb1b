/** The figures over the internet as text, beside the goals. */
import type { InternetFigures, InternetSide, LineResult } from './bench.ts';

/** Goals of Meshpass over a line with this round trip, ms; for bulk: share of plain TLS. */
export const GOALS = {
  upMs: (roundTripMs: number) => 7 * roundTripMs + 400,
  firstCallMs: (roundTripMs: number) => 2 * roundTripMs,
  laterCallMs: (roundTripMs: number) => roundTripMs + 5,
  bulk: 0.95,
} as const;

export function printInternet(results: readonly LineResult[]): void {
  console.log(
    '\nOver the internet: Meshpass, beside a stock sidecar through an east-west gateway over the same line. ms, and MB/s.\n',
  );
  const head = ['up to 200', 'first call', 'later, new', 'later, kept', 'bulk', 'plain TLS', 'bulk ratio'];
  console.log(`  ${'round trip'.padEnd(26)}${head.map((one) => one.padStart(12)).join('')}`);
  for (const { line, sides } of results) {
    const loss = line.lossPercent ? `, ${line.lossPercent} % lost` : '';
    const row = (title: string, cells: readonly (number | string)[]) =>
      console.log(`  ${title.padEnd(26)}${cells.map((cell) => String(cell).padStart(12)).join('')}`);
    row(`${line.roundTripMs} ms${loss}: gateway`, cellsOf(sides, 'gateway'));
    row('  Meshpass', cellsOf(sides, 'meshpass'));
    const later = GOALS.laterCallMs(line.roundTripMs);
    const most = [GOALS.upMs(line.roundTripMs), GOALS.firstCallMs(line.roundTripMs), later, later];
    row('  goal, at most', [...most, '', '', `at least ${GOALS.bulk}`]);
  }
}

/** Bulk beside plain TLS over the same line. */
export function bulkRatio({ bulkMegabytesPerSecond, plainTlsMegabytesPerSecond }: InternetFigures): number {
  return bulkMegabytesPerSecond / plainTlsMegabytesPerSecond;
}

function cellsOf(sides: LineResult['sides'], side: InternetSide): readonly (number | string)[] {
  const one = sides[side];
  const times = [one.upMs, one.firstCallMs, one.newConnectionMs, one.keptConnectionMs].map(Math.round);
  return [...times, one.bulkMegabytesPerSecond, one.plainTlsMegabytesPerSecond, bulkRatio(one).toFixed(2)];
}
