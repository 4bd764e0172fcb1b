/** `meshpass down`, which waits only for requests and connections in use. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { countOpenRequests, EnvoyAdmin } from '../../src/envoy/admin.ts';
import { service } from '../harness.ts';
import { world } from '../world.ts';

test('waits for a request in progress and a TCP connection, but not for an idle HTTP connection', () => {
  const stats = (...lines: string[]) => countOpenRequests(lines.join('\n'));
  const idle = [
    'http.payments-dev/127.64.0.1_8080.downstream_cx_active: 2',
    'http.payments-dev/127.64.0.1_8080.downstream_rq_active: 0',
    'listener.127.64.0.1_8080.downstream_cx_active: 2',
    'listener.127.64.0.1_8080.worker_0.downstream_cx_active: 2',
    'http.admin.downstream_rq_active: 1',
    'http.admin.downstream_cx_active: 1',
    'listener.admin.downstream_cx_active: 1',
  ];
  expect(stats(...idle)).toBe(0);
  expect(
    stats(...idle, 'http.agent/proxy.downstream_rq_active: 1', 'listener.127.0.0.1_3128.downstream_cx_active: 4'),
  ).toBe(1);
  expect(stats(...idle, 'listener.127.64.0.2_5432.downstream_cx_active: 3')).toBe(3);
});

test('ends a drain with the last TCP connection', async () => {
  const w = await world({ services: [service({ protocol: 'tcp' })], onConnection: (socket) => socket.pipe(socket) });
  const { address } = (await w.agent.status()).services[0]!;
  const socket = connect(8080, address!);
  socket.on('error', () => {});
  socket.write('hello');
  await once(socket, 'data');
  let isOver = false;
  // Far longer than the test's time limit.
  const drained = new EnvoyAdmin(join(w.runtimeDirectory, 'admin.sock')).drain(600_000).then(() => {
    isOver = true;
  });
  for (const text of ['still', 'here']) {
    await sleep(200);
    socket.write(text);
    expect(String((await once(socket, 'data'))[0])).toBe(text);
  }
  expect(isOver).toBe(false);
  socket.end();
  await drained;
});
