/**
 * Cost of the edge alone: ping-pong of 200-byte messages at 1 and 16 connections, CPU per round trip, and bulk, beside
 * a plain TCP proxy (the same Node, no TLS, no checks) in the same run. Client and service are processes of their own.
 *   node bench/edge/bench.ts [seconds of a measurement] [rounds; the median of them is printed]
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { child, startAlone, TARGET } from './alone.ts';
import type { Measured, Task } from './client.ts';

const SECONDS = Number(process.argv[2] ?? 1);
const ROUNDS = Number(process.argv[3] ?? 5);

const alone = await startAlone();
const { servicePort, outer } = alone;
const plain = createServer({ noDelay: true, allowHalfOpen: true }, (client) => proxy(client, servicePort));
await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
const plainPort = (plain.address() as { port: number }).port;

const client = child(new URL('./client.ts', import.meta.url));
await once(client, 'message');
const roads = {
  direct: { port: servicePort },
  'tcp proxy': { port: plainPort },
  edge: { port: alone.port, outer },
};
const rows: Record<string, Record<string, string>> = {};
for (const [label, kind, connections] of [
  ['ping-pong, 1 connection', 'ping', 1],
  ['ping-pong, 16 connections', 'ping', 16],
  ['bulk down, 1 connection', 'down', 1],
  ['bulk up, 1 connection', 'up', 1],
] as const) {
  const samples: Record<string, Sample[]> = {};
  // Measures round by round, so that other work of the machine affects all paths alike.
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, dataPath] of Object.entries(roads)) {
      const sample = await measure({ kind, connections, seconds: SECONDS, target: TARGET, ...dataPath });
      samples[name] = [...(samples[name] ?? []), sample];
    }
  }
  const shown = Object.entries(samples).map(([name, of]) => [name, show(kind, of)]);
  const ratio = middle(samples.edge!, rate) / middle(samples['tcp proxy']!, rate);
  rows[label] = { ...Object.fromEntries(shown), 'edge / proxy': ratio.toFixed(2) };
}
console.table(rows);
await alone.close();
plain.close();
client.kill();

type Sample = Measured & { readonly cpuMicros: number };

async function measure(task: Task): Promise<Sample> {
  client.send(task);
  await once(client, 'message'); // warmed up, counting starts
  const before = process.cpuUsage();
  const [measured] = (await once(client, 'message')) as [Measured];
  const used = process.cpuUsage(before);
  return { ...measured, cpuMicros: used.user + used.system };
}

function show(kind: Task['kind'], of: readonly Sample[]): string {
  if (kind !== 'ping') {
    const cpu = middle(of, (s) => (s.cpuMicros / s.bytes) * 1e3);
    return `${Math.round(middle(of, rate) / 1e6)} MB/s, ${cpu.toFixed(2)} ns CPU/byte`;
  }
  const cpu = middle(of, (s) => s.cpuMicros / s.rounds).toFixed(1);
  return `${Math.round(middle(of, rate))}/s, median ${middle(of, (s) => s.medianMicros)} us, ${cpu} us CPU`;
}

/** Round trips a second, or bytes a second for bulk. */
function rate(sample: Sample): number {
  return (sample.rounds || sample.bytes) / sample.seconds;
}

function middle(of: readonly Sample[], value: (sample: Sample) => number): number {
  return of.map(value).sort((a, b) => a - b)[of.length >> 1]!;
}

function proxy(downstream: Socket, port: number): void {
  const upstream = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
  downstream.pipe(upstream).pipe(downstream);
  downstream.on('error', () => upstream.destroy());
  upstream.on('error', () => downstream.destroy());
}
