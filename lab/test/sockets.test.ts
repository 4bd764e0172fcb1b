import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { connectionsAt, parseSockets } from '../src/network/sockets.ts';

test('the kernel lists a connection as long as a process holds it', async () => {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(connectionsAt(port)).toEqual([]);
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  const [accepted] = (await once(server, 'connection')) as [Socket];
  expect(connectionsAt(port)).toEqual([{ localPort: port, remotePort: client.localPort, state: 'established' }]);
  client.end();
  // A half-closed socket is still open, as in a leak.
  await expect.poll(() => connectionsAt(port)[0]?.state).toBe('close-wait');
  accepted.resetAndDestroy();
  await expect.poll(() => connectionsAt(port)).toEqual([]);
  server.close();
});

test('rows of both tables are read', () => {
  const table = `  sl  local_address rem_address   st tx_queue
   0: 0100007F:01BB 0200007F:C350 01 00000000:00000000
   1: 0000000000000000FFFF00000100007F:01BB 0000000000000000FFFF00000200007F:C351 08 00000000:00000000
`;
  expect(parseSockets(table)).toEqual([
    { localPort: 443, remotePort: 50_000, state: 'established' },
    { localPort: 443, remotePort: 50_001, state: 'close-wait' },
  ]);
});
