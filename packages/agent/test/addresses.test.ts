/** The broker's name has several addresses, and another broker may be the active one. */
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { rememberAddresses } from '@meshpass/identity/address';

import { afterEach, expect, it } from 'vitest';
import { BrokerClient } from '../src/session/broker-client.ts';
import { newDpopKey } from '../src/session/enrol.ts';
import { createAuthority } from './harness.ts';

const servers: Server[] = [];
const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

async function listen(server: Server, host: string, port = 0): Promise<number> {
  servers.push(server);
  server.on('connection', (socket) => sockets.add(socket));
  server.listen(port, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function clientOf(answer: () => number) {
  const authority = await createAuthority('public');
  const issued = await authority.issue('localhost');
  let asked = 0;
  const active = createTlsServer(issued, (_request, response) => {
    asked++;
    const status = answer();
    const connection = status === 503 ? 'close' : 'keep-alive';
    response.writeHead(status, { 'content-type': 'application/json', connection });
    response.end(
      JSON.stringify({
        error_code: 'store_unavailable',
        error_description: 'not now',
        lease_expires_at: 1,
        expires_at: 1,
      }),
    );
  });
  const port = await listen(active, '127.0.0.2');
  const found = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  const client = new BrokerClient({
    ...{ url: `https://localhost:${port}`, key: newDpopKey(), ca: authority.root, now: Date.now },
    ...{ randomId: () => crypto.randomUUID(), timeout: 1_000 },
    addresses: rememberAddresses((_host, _options, done) => done(null, found)),
  });
  return { client, port, asked: () => asked };
}

it('an address that refuses connections costs nothing', async () => {
  const { client } = await clientOf(() => 200);
  expect(await client.heartbeat('token')).toHaveProperty('lease_expires_at');
  client.close();
});

it('an address that accepts connections and says nothing is tried last from then on', async () => {
  const { client, port } = await clientOf(() => 200);
  // What a frozen broker looks like.
  await listen(createServer(), '127.0.0.1', port);
  await expect(client.heartbeat('token')).rejects.toMatchObject({ code: 'agent_broker_unreachable' });
  expect(await client.heartbeat('token')).toHaveProperty('lease_expires_at');
  client.close();
});

it('a broker that says that it serves nobody is tried last from then on', async () => {
  let status = 200;
  const { client, port, asked } = await clientOf(() => status);
  expect(await client.heartbeat('token')).toHaveProperty('lease_expires_at');
  status = 503;
  await expect(client.heartbeat('token')).rejects.toMatchObject({ code: 'store_unavailable' });
  const other = createServer();
  const reached = once(other, 'connection');
  await listen(other, '127.0.0.1', port);
  void client.heartbeat('token').catch(() => {});
  await reached;
  expect(asked()).toBe(2);
  client.close();
});
