/** A broker with several addresses. Any of them may belong to the active replica. */
import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createAddressLookup } from '@meshpass/identity';
import { afterEach, expect, it } from 'vitest';
import { z } from 'zod';
import { BrokerClient } from '../src/session/broker-client.ts';
import { generateDpopKey } from '../src/session/enrol.ts';
import { createAuthority } from './harness.ts';

const Served = z.object({ served: z.boolean() });
const ask = (client: BrokerClient) => client.call({ method: 'GET', path: '/services', accessToken: 'token' }, Served);

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
        served: true,
        expires_at: 1,
      }),
    );
  });
  const port = await listen(active, '127.0.0.2');
  const found = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  const client = new BrokerClient({
    url: `https://localhost:${port}`,
    key: generateDpopKey(),
    ca: authority.root,
    now: Date.now,
    timeout: 1_000,
    addresses: createAddressLookup((_host, _options, done) => done(null, found)),
  });
  return { client, port, asked: () => asked };
}

it('skips an address that refuses connections without delay', async () => {
  const { client } = await clientOf(() => 200);
  expect(await ask(client)).toHaveProperty('served');
  client.close();
});

it('tries an address last after it accepted a connection but never responded', async () => {
  const { client, port } = await clientOf(() => 200);
  // A frozen broker behaves like this.
  await listen(createServer(), '127.0.0.1', port);
  await expect(ask(client)).rejects.toMatchObject({ code: 'agent_broker_unreachable' });
  expect(await ask(client)).toHaveProperty('served');
  client.close();
});

it('tries a broker last after it reported that it serves no clients', async () => {
  let status = 200;
  const { client, port, asked } = await clientOf(() => status);
  expect(await ask(client)).toHaveProperty('served');
  status = 503;
  await expect(ask(client)).rejects.toMatchObject({ code: 'store_unavailable' });
  const other = createServer();
  const reached = once(other, 'connection');
  await listen(other, '127.0.0.1', port);
  void ask(client).catch(() => {});
  await reached;
  expect(asked()).toBe(2);
  client.close();
});
