/** The data path's figures as text, with ratios to both peers and the goals. */
import type { DataPathResult, Figures } from './bench.ts';
import type { CpuMicros, SideName } from './cpu.ts';

const TITLES: Readonly<Record<SideName, string>> = {
  straight: 'stock straight',
  gateway: 'stock gateway',
  meshpass: 'Meshpass',
};

export function printDataPath({ sides, rounds }: DataPathResult): void {
  const { straight, gateway, meshpass } = sides;
  console.log(
    '\nThe whole data path (workspace, edge, gateway, sidecar) beside a stock sidecar: straight to the pod, and through an',
  );
  console.log(
    `east-west gateway. Medians of ${rounds} rounds taken in turns; all carry the same token on every request.\n`,
  );
  const columns = ['stock straight', 'stock gateway', 'Meshpass', 'to straight', 'to gateway'];
  console.log(`  ${''.padEnd(30)}${columns.map((column) => column.padStart(15)).join('')}   goal, to gateway`);
  const row = (what: string, unit: string, pick: (figures: Figures) => number, goal = '') => {
    const [first, second, ours] = [pick(straight), pick(gateway), pick(meshpass)];
    const absolute = [first, second, ours].map((figure) => `${Math.round(figure)} ${unit}`);
    const cells = [...absolute, (ours / first).toFixed(2), (ours / second).toFixed(2)];
    console.log(`  ${what.padEnd(30)}${cells.map((cell) => cell.padStart(15)).join('')}   ${goal}`);
  };
  row('launch to first 200', 'ms', (one) => one.firstMs);
  row('requests/s, 1 connection', '/s', (one) => one.single.perSecond);
  row('median, 1 connection', 'us', (one) => one.single.medianMicros, 'at most 1.3');
  row('requests/s, 16 connections', '/s', (one) => one.sixteen.perSecond, 'at least 1.1');
  row('median, 16 connections', 'us', (one) => one.sixteen.medianMicros);
  row('bulk download', 'MB/s', (one) => one.bulk.megabytesPerSecond, 'at least 0.8');
  row('resident memory after it all', 'MB', (one) => total(one.memoryMegabytes), 'at most 150 MB');
  row('CPU for a request, 1', 'us', (one) => total(one.single.cpuMicros));
  row('CPU for a request, 16', 'us', (one) => total(one.sixteen.cpuMicros));

  console.log('\nResident memory in the workspace by part, MB:\n');
  for (const name of Object.keys(TITLES) as SideName[]) {
    const present = Object.entries(sides[name].memoryMegabytes).filter(([, megabytes]) => megabytes > 0);
    const said = present.map(([part, megabytes]) => `${part} ${megabytes}`);
    console.log(`  ${TITLES[name].padEnd(30)}${said.join(', ')}`);
  }
  console.log('\nCPU time by part: us for a request at 1 and at 16 connections, us for a megabyte of bulk.\n');
  for (const name of Object.keys(TITLES) as SideName[]) printCpu(TITLES[name], sides[name]);
}

/** Sum over all parts. */
export function total(byPart: Readonly<Record<string, number>>): number {
  return Object.values(byPart).reduce((sum, figure) => sum + figure, 0);
}

function printCpu(name: string, { single, sixteen, bulk }: Figures): void {
  const line = (part: string, pick: (cpu: CpuMicros) => number) => {
    const cells = [single, sixteen, bulk].map(({ cpuMicros }) => pick(cpuMicros).toFixed(0).padStart(9));
    console.log(`  ${part.padEnd(30)}${cells.join('')}`);
  };
  console.log(`  ${name.padEnd(30)}${['1', '16', 'bulk'].map((column) => column.padStart(9)).join('')}`);
  for (const part of Object.keys(single.cpuMicros)) line(`  ${part}`, (cpu) => cpu[part]!);
  line('  all', total);
  console.log('');
}
