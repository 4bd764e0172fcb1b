import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { socketBelow } from '@meshpass/identity';
import { expect, it, vi } from 'vitest';
import { createSocketLinker } from '../../src/http/listen.ts';
import { writeCertificate } from '../harness/certificate.ts';

it('finds the TCP socket under a TLS socket, in this version of Node', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-socket-'));
  const { certFile, keyFile } = await writeCertificate(dir);
  const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
  const raw = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const secured = new Promise<TLSSocket>((resolve) => server.once('secureConnection', resolve));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  const tls = await secured;
  expect(socketBelow(tls)).toBe(await raw);
  client.destroy();
  tls.destroy();
  server.close();
  rmSync(dir, { recursive: true });
});

it('logs once that it is not found', () => {
  const [alias, onFailure] = [vi.fn(), vi.fn()];
  const link = createSocketLinker({ alias }, onFailure);
  const raw = {} as Socket;
  const found = { _parent: raw } as unknown as TLSSocket;
  link(found);
  expect(alias).toHaveBeenCalledWith(found, raw);
  expect(onFailure).not.toHaveBeenCalled();
  for (let n = 0; n < 3; n++) link({} as TLSSocket);
  expect(onFailure).toHaveBeenCalledTimes(1);
  expect(onFailure.mock.lastCall?.[0]).toMatchObject({
    code: 'internal',
    message: expect.stringContaining('clients without a session'),
  });
});
