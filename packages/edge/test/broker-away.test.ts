import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { followBroker } from '../src/broker/follow.ts';
import { createSessionDirectory } from '../src/directory.ts';
import { createCa } from './mesh-ca.ts';

test('logs an unreachable broker once, not at each attempt', async () => {
  let asked = 0;
  const server = createServer((socket) => {
    asked += 1;
    socket.destroy();
  }).listen(0, 'localhost');
  await once(server, 'listening');
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-edge-'));
  const [tokenFile, caFile] = [join(dir, 'token'), join(dir, 'ca.pem')];
  writeFileSync(tokenFile, 'token', { mode: 0o600 });
  writeFileSync(caFile, (await createCa('web')).root);
  const told: string[] = [];
  const following = followBroker({
    urls: [`https://localhost:${(server.address() as { port: number }).port}`],
    tokenFile,
    caFile,
    directory: createSessionDirectory({ clock: Date.now }),
    log: { info: () => {}, warn: (_, message) => told.push(message) },
    random: () => 0,
  });
  try {
    await vi.waitFor(() => expect(asked).toBeGreaterThan(3), { timeout: 60_000 });
    expect(told).toEqual(['no broker is serving the stream']);
  } finally {
    await following.close();
    server.close();
    rmSync(dir, { recursive: true });
  }
});

test('explains an untrusted CA without the message of Node.js', async () => {
  const { issue } = await createCa('web');
  const server = createTlsServer(await issue({ san: [{ type: 'dns', value: 'localhost' }] })).listen(0, 'localhost');
  await once(server, 'listening');
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-edge-'));
  const tokenFile = join(dir, 'token');
  writeFileSync(tokenFile, 'token', { mode: 0o600 });
  const told: string[] = [];
  const following = followBroker({
    urls: [`https://localhost:${(server.address() as { port: number }).port}`],
    tokenFile,
    directory: createSessionDirectory({ clock: Date.now }),
    log: { info: () => {}, warn: ({ err }, message) => told.push(`${message}: ${(err as Error).message}`) },
  });
  try {
    await vi.waitFor(() => expect(told).not.toEqual([]), { timeout: 60_000 });
    expect(told[0]).toBe(
      'no broker is serving the stream: Cannot reach the broker: its certificate is not trusted here.',
    );
  } finally {
    await following.close();
    server.closeAllConnections();
    server.close();
    rmSync(dir, { recursive: true });
  }
});
