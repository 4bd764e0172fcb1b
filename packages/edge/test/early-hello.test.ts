/**
 * ClientHello in one flight with CONNECT: buffered until the gateway is connected, and trusted no more than a later
 * one.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ALICE,
  buildDataPath,
  captureHello,
  closed,
  connectBySni,
  connectHead,
  type DataPath,
  hear,
  LEDGER,
  ORDERS,
  refusalOf,
} from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

const SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';
const ESTABLISHED = 'HTTP/1.1 200 OK\r\n\r\n';
const DECODE_ERROR = Buffer.from([21, 3, 3, 0, 2, 2, 50]);
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);

async function aliceOnline(...args: Parameters<typeof buildDataPath>) {
  dataPath = await buildDataPath(...args);
  dataPath.admit('s-alice', ALICE);
  return dataPath.outer(await svid(dataPath.mesh, ALICE));
}

/** Returns everything that the edge sends until it closes. */
async function allOf(outer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  outer.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(outer, 'end');
  outer.end();
  return Buffer.concat(chunks);
}

/** Returns the gateway's input, once it has at least `length` bytes. */
async function received(heard: readonly Buffer[], length: number): Promise<Buffer> {
  await expect.poll(() => Buffer.concat(heard).length).toBeGreaterThanOrEqual(length);
  return Buffer.concat(heard);
}

test('opens the tunnel without another round trip, and the gateway receives exactly these bytes', async () => {
  const heard: Buffer[] = [];
  const outer = await aliceOnline(
    {},
    { rawGateway: (socket) => socket.on('data', (chunk: Buffer) => heard.push(chunk)) },
  );
  const hello = await captureHello(SNI);
  outer.write(Buffer.concat([Buffer.from(connectHead(ORDERS)), hello]));
  expect(await hear(outer)).toBe(ESTABLISHED);
  expect(await received(heard, hello.length)).toEqual(hello);
  outer.write('and what follows');
  expect(await received(heard, hello.length + 16)).toEqual(Buffer.concat([hello, Buffer.from('and what follows')]));
  expect(dataPath.decisions).toMatchObject([{ outcome: 'allowed', target: `${ORDERS.host}:${ORDERS.port}` }]);
});

test('may be split anywhere without a loss', async () => {
  const heard: Buffer[] = [];
  const outer = await aliceOnline(
    {},
    { rawGateway: (socket) => socket.on('data', (chunk: Buffer) => heard.push(chunk)) },
  );
  const hello = await captureHello('outbound_.8080_.v2_.orders.shop.svc.cluster.local');
  const flight = Buffer.concat([
    Buffer.from(connectBySni('outbound_.8080_.v2_.orders.shop.svc.cluster.local')),
    hello,
    Buffer.from('more'),
  ]);
  for (const byte of flight) outer.write(Buffer.from([byte]));
  expect(await hear(outer)).toBe(ESTABLISHED);
  expect(await received(heard, hello.length + 4)).toEqual(Buffer.concat([hello, Buffer.from('more')]));
});

test('of a real TLS client leads to a working connection', async () => {
  const outer = await aliceOnline();
  // A TLS client that sees the 200 would fail, so it is removed from the stream.
  const [near, far] = duplexPair();
  const inner = connect({ socket: near, servername: SNI, rejectUnauthorized: false });
  outer.write(connectHead(ORDERS));
  far.on('data', (chunk: Buffer) => outer.write(chunk));
  let head = '';
  outer.on('data', (chunk: Buffer) => {
    if (head.length >= ESTABLISHED.length) return void far.write(chunk);
    const missing = ESTABLISHED.length - head.length;
    head += chunk.toString('latin1', 0, missing);
    if (chunk.length > missing) far.write(chunk.subarray(missing));
  });
  await once(inner, 'secureConnect');
  expect(head).toBe(ESTABLISHED);
  inner.write('hello');
  expect(String(await once(inner, 'data'))).toBe('hello');
  inner.destroy();
});

describe('is refused, and the gateway receives no byte,', () => {
  const nothingArrived = () => expect(dataPath.arrivals.every((socket) => socket.bytesRead === 0)).toBe(true);

  test.each([
    ['if it names another target', () => captureHello('outbound_.5432_._.ledger-db.shop.svc.cluster.local'), 112],
    ['if it names another subset than CONNECT', () => captureHello(SNI.replace('._.', '.v2_.')), 112],
    ['if it has no server name', () => captureHello(undefined), 112],
    ['if it is another request', async () => Buffer.from(`${connectHead(ORDERS)}${'x'.repeat(100)}`), 50],
    ['if it is a response', async () => Buffer.from(ESTABLISHED.repeat(10)), 50],
    ['if it is a TLS record of another kind', async () => Buffer.from([23, 3, 3, 0, 1, 0]), 50],
  ])('%s', async (_when, early, alert) => {
    const outer = await aliceOnline();
    outer.write(Buffer.concat([Buffer.from(connectHead(ORDERS)), await early()]));
    const answer = await allOf(outer);
    const expected = alert === 112 ? UNRECOGNIZED_NAME : DECODE_ERROR;
    expect(answer).toEqual(Buffer.concat([Buffer.from(ESTABLISHED), expected]));
    expect(dataPath.decisions).toMatchObject([{ outcome: 'refused', code: 'tunnel_sni_mismatch' }]);
    nothingArrived();
  });

  test('if its target is not granted, and is never read as a request', async () => {
    const outer = await aliceOnline();
    outer.write(`${connectHead(LEDGER)}${connectHead(ORDERS)}`);
    const answer = String(await allOf(outer));
    expect(refusalOf(answer).code).toBe('tunnel_target_not_granted');
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(dataPath.decisions).toHaveLength(1);
    expect(dataPath.arrivals).toHaveLength(0);
  });

  describe('while the edge dials,', () => {
    let busy: BusyGateway;
    beforeEach(async () => {
      busy = await startBusyGateway();
    });
    afterEach(() => busy.close());

    test.each([
      ['in one piece', 1],
      ['in many', 64],
    ])('if it is longer than a ClientHello may be, %s', async (_how, pieces) => {
      const outer = await aliceOnline({ dialMs: 30_000 }, { gateway: busy.address });
      outer.write(connectHead(ORDERS));
      const piece = Buffer.alloc(Math.ceil(16_385 / pieces), 22);
      for (let n = 0; n < pieces; n++) outer.write(piece);
      expect(refusalOf(String(await allOf(outer))).code).toBe('tunnel_request_malformed');
      expect(dataPath.decisions).toMatchObject([{ outcome: 'refused', code: 'tunnel_request_malformed' }]);
    });

    test('if its session ends', async () => {
      const outer = await aliceOnline({ dialMs: 30_000 }, { gateway: busy.address });
      outer.write(Buffer.concat([Buffer.from(connectHead(ORDERS)), await captureHello(SNI)]));
      const cut = closed(outer);
      await expect.poll(() => dataPath.edge.stats().warm).toBe(0);
      dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'operator' });
      await cut;
      expect(dataPath.edge.stats()).toMatchObject({ connections: 0 });
    });

    test('if its client disconnects', async () => {
      const outer = await aliceOnline({ dialMs: 30_000 }, { gateway: busy.address });
      outer.end(Buffer.concat([Buffer.from(connectHead(ORDERS)), await captureHello(SNI)]));
      await dataPath.empty();
      expect(dataPath.decisions).toHaveLength(0);
    });
  });
});

interface BusyGateway {
  readonly address: { readonly host: string; readonly port: number };
  close(): void;
}

/** Listener with a full queue: the kernel answers no connection attempt. */
async function startBusyGateway(): Promise<BusyGateway> {
  const program = `const server = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    process.stdout.write(String(server.address().port), () => process.kill(process.pid, 'SIGSTOP'));
  })`;
  const listener = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(await once(listener.stdout, 'data'));
  await expect.poll(() => readFileSync(`/proc/${listener.pid}/stat`, 'latin1')).toMatch(/^\d+ \([^)]*\) T /);
  const waiting = Array.from({ length: 4 }, () => connectTcp(port, '127.0.0.1').on('error', () => {}));
  // A queue of one accepts two connections; the others are not answered.
  await expect.poll(() => waiting.filter((socket) => !socket.connecting).length).toBe(2);
  return {
    address: { host: '127.0.0.1', port },
    close() {
      for (const socket of waiting) socket.destroy();
      listener.kill('SIGKILL');
    },
  };
}
