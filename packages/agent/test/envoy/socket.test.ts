import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openEnvoySocket } from '../../src/envoy/socket.ts';

test('answers requests that arrived before the socket was served', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'socket-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const socket = await openEnvoySocket(join(directory, 'envoy.sock'));
  onTestFinished(() => socket.close());
  expect(statSync(socket.path).mode & 0o777).toBe(0o600);
  const early = connect(socket.path);
  onTestFinished(() => void early.destroy());
  await once(early, 'connect');
  early.write('asked early');

  const heard: string[] = [];
  socket.serve((connection) => connection.on('data', (data) => heard.push(data.toString())));
  await expect.poll(() => heard.join()).toBe('asked early');

  const late = connect(socket.path);
  onTestFinished(() => void late.destroy());
  late.write('asked late');
  await expect.poll(() => heard).toEqual(['asked early', 'asked late']);
});

test('limits the number of waiting connections', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'socket-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const socket = await openEnvoySocket(join(directory, 'envoy.sock'));
  onTestFinished(() => socket.close());
  let ended = 0;
  const waiting = Array.from({ length: 20 }, () => connect(socket.path).on('close', () => ended++));
  onTestFinished(() => waiting.forEach((one) => void one.destroy()));
  for (const one of waiting) one.on('error', () => {});
  await expect.poll(() => ended).toBe(4);
});
