/**
 * Cost of a tunnel for the edge from accept to end, without a byte of a request: CPU for a full TLS handshake, and for a resumed one.
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
const KINDS = { 'full handshake': false, 'resumed where there is a ticket': true };
const rows: Record<string, Record<string, string>> = {};
const samples: Record<string, Sample[]> = {};
for (const resume of Object.values(KINDS)) await measure(resume);
// Measures in turns, so that other work of the machine affects both alike.
for (let round = 0; round < ROUNDS; round++)
  for (const [kind, resume] of Object.entries(KINDS)) samples[kind] = [...(samples[kind] ?? []), await measure(resume)];
for (const [kind, of] of Object.entries(samples)) {
  const middle = (value: (sample: Sample) => number) => of.map(value).sort((a, b) => a - b)[of.length >> 1]!;
  rows[kind] = {
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
