/** The near end for bench/edge/bench.ts: opens connections, straight or through the edge, and measures. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { clientHello } from './client-hello.ts';

export interface Task {
  readonly kind: 'ping' | 'down' | 'up';
  readonly connections: number;
  readonly seconds: number;
  readonly port: number;
  readonly target: { readonly host: string; readonly port: number };
  /** Through the edge: the client certificate, and the CA of the edge's own. */
  readonly outer?: { readonly cert: string; readonly key: string; readonly ca: string };
}

export interface Measured {
  readonly rounds: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly medianMicros: number;
}

const MESSAGE = Buffer.alloc(200, 1);
const BLOCK = Buffer.alloc(262_144, 7);
const WARM_MS = 700;

process.on('message', async (task: Task) => {
  const sockets = await Promise.all(Array.from({ length: task.connections }, () => open(task)));
  const tally = { rounds: 0, bytes: 0, micros: [] as number[] };
  for (const socket of sockets) {
    socket.on('error', () => {});
    if (task.kind === 'ping') ping(socket, tally);
    else if (task.kind === 'down') socket.on('data', (chunk: Buffer) => (tally.bytes += chunk.length));
    else up(socket, tally);
  }
  await wait(WARM_MS);
  Object.assign(tally, { rounds: 0, bytes: 0, micros: [] });
  process.send!('started');
  const start = process.hrtime.bigint();
  await wait(task.seconds * 1000);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { rounds, bytes } = tally;
  const sorted = tally.micros.sort((a, b) => a - b);
  for (const socket of sockets) socket.destroy();
  process.send!({
    rounds,
    bytes,
    seconds,
    medianMicros: Math.round(sorted[sorted.length >> 1] ?? 0),
  } satisfies Measured);
});
process.once('disconnect', () => process.exit());
process.send!('ready');

async function open(task: Task): Promise<Socket> {
  const hello = clientHello(`outbound_.${task.target.port}_._.${task.target.host}`);
  const opening = Buffer.concat([hello, Buffer.from(task.kind[0]!)]);
  const to = { host: '127.0.0.1', port: task.port, noDelay: true };
  if (!task.outer) {
    const socket = connectTcp(to);
    await once(socket, 'connect');
    socket.write(opening);
    return socket;
  }
  const socket = connectTls({ ...to, ...task.outer, servername: 'edge.test', ALPNProtocols: ['http/1.1'] });
  await once(socket, 'secureConnect');
  socket.setNoDelay(true);
  const authority = `${task.target.host}:${task.target.port}`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!answer.toString().startsWith('HTTP/1.1 200')) throw new Error(answer.toString());
  socket.write(opening);
  return socket;
}

function ping(socket: Socket, tally: { rounds: number; micros: number[] }): void {
  let missing = MESSAGE.length;
  let sent = performance.now();
  socket.on('data', (chunk: Buffer) => {
    missing -= chunk.length;
    if (missing > 0) return;
    const now = performance.now();
    tally.rounds++;
    tally.micros.push((now - sent) * 1000);
    missing = MESSAGE.length;
    sent = now;
    socket.write(MESSAGE);
  });
  socket.write(MESSAGE);
}

function up(socket: Socket, tally: { bytes: number }): void {
  let held: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    for (; held.length >= 4; held = held.subarray(4)) tally.bytes += held.readUInt32BE(0);
  });
  const pump = () => {
    while (!socket.destroyed && socket.write(BLOCK));
  };
  socket.on('drain', pump);
  pump();
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
