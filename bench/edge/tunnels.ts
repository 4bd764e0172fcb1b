/**
 * What a tunnel costs the edge from accept to end, without a byte of a request: CPU for a full TLS handshake, and for a resumed one.
 *   node bench/edge/tunnels.ts [tunnels of a measurement] [rounds; the median of them is printed]
 */
import { once } from 'node:events';
import { child, startAlone, TARGET } from './alone.ts';
import type { Opened, Opening } from './openers.ts';

const TUNNELS = Number(process.argv[2] ?? 500);
const ROUNDS = Number(process.argv[3] ?? 5);

const alone = await startAlone();
const openers = child(new URL('./openers.ts', import.meta.url));
await once(openers, 'message');
const { port, outer } = alone;
const rows: Record<string, Record<string, string>> = {};
await measure(true);
for (const [label, resume] of [
  ['full handshake', false],
  ['resumed where there is a ticket', true],
] as const) {
  const samples: Sample[] = [];
  for (let round = 0; round < ROUNDS; round++) samples.push(await measure(resume));
  const middle = (value: (sample: Sample) => number) => samples.map(value).sort((a, b) => a - b)[ROUNDS >> 1]!;
  rows[label] = {
    'us CPU a tunnel': middle(({ cpuMicros }) => cpuMicros / TUNNELS).toFixed(0),
    'median to first byte, us': middle(({ medianMicros }) => medianMicros).toFixed(0),
    resumed: `${Math.round((100 * middle(({ resumed }) => resumed)) / TUNNELS)} %`,
  };
}
console.table(rows);
await alone.close();
openers.kill();

type Sample = Opened & { readonly cpuMicros: number };

async function measure(resume: boolean): Promise<Sample> {
  const before = process.cpuUsage();
  openers.send({
    tunnels: TUNNELS,
    atOnce: 2,
    port,
    target: TARGET,
    outer,
    resume,
  } satisfies Opening);
  const [opened] = (await once(openers, 'message')) as [Opened];
  const used = process.cpuUsage(before);
  return { ...opened, cpuMicros: used.user + used.system };
}
