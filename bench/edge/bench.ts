/**
 * What the edge alone costs: ping-pong of 200-byte messages at 1 and 16 connections, CPU per round trip, and bulk, beside
 * a plain TCP proxy (the same Node, no TLS, no checks) in the same run. Client and service are processes of their own.
 *   node bench/edge/bench.ts [seconds of a measurement] [rounds; the median of them is printed]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { createDirectory, startEdge } from '@meshpass/edge';
import { createCa, svid } from '../../packages/edge/test/mesh-ca.ts';
import type { Measured, Task } from './client.ts';

const SECONDS = Number(process.argv[2] ?? 1);
const ROUNDS = Number(process.argv[3] ?? 5);
const PRINCIPAL = 'spiffe://cluster.local/ns/meshpass-bench/sa/bench';
const TARGET = { host: 'orders.shop.svc.cluster.local', port: 8080 };

const service = child(new URL('./service.ts', import.meta.url));
const [{ port: servicePort }] = (await once(service, 'message')) as [{ port: number }];
const ca = await createCa('mesh');
const web = await createCa('web');
const server = await web.issue({ san: [{ type: 'dns', value: 'edge.test' }] });
const directory = createDirectory({ clock: Date.now });
const session = {
  id: 'bench',
  subject: 'bench',
  expires_at: Math.floor(Date.now() / 1000) + 3600,
  principals: [{ spiffe_id: PRINCIPAL, targets: [TARGET] }],
};
directory.apply({ type: 'snapshot', sessions: [session], roots: [ca.root] });
const beat = setInterval(() => directory.apply({ type: 'beat', at: Math.floor(Date.now() / 1000) }), 1000);
const edge = await startEdge({
  listen: { host: '127.0.0.1', port: 0 },
  tls: server,
  gateway: { host: '127.0.0.1', port: servicePort },
  directory,
  report: () => {},
});
const plain = createServer({ noDelay: true, allowHalfOpen: true }, (client) => proxy(client, servicePort));
await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
const plainPort = (plain.address() as { port: number }).port;

const client = child(new URL('./client.ts', import.meta.url));
await once(client, 'message');
const outer = { ...(await svid(ca, PRINCIPAL)), ca: web.root };
const roads = {
  direct: { port: servicePort },
  'tcp proxy': { port: plainPort },
  edge: { port: edge.address.port, outer },
};
const rows: Record<string, Record<string, string>> = {};
for (const [label, kind, connections] of [
  ['ping-pong, 1 connection', 'ping', 1],
  ['ping-pong, 16 connections', 'ping', 16],
  ['bulk down, 1 connection', 'down', 1],
  ['bulk up, 1 connection', 'up', 1],
] as const) {
  const samples: Record<string, Sample[]> = {};
  // Round by round, so that what else the machine does falls on all roads alike.
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
clearInterval(beat);
await edge.close();
directory.close();
plain.close();
client.kill();
service.kill();

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

/** Round trips, or bytes where there are none, a second. */
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

function child(program: URL): ChildProcess {
  const started = fork(fileURLToPath(program));
  process.once('exit', () => started.kill());
  return started;
}
