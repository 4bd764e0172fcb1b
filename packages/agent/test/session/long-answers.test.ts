/** Responses with thousands of services, and endless ones. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ReachableService, ServicesResponse } from '@meshpass/identity/wire';
import { afterEach, expect, it } from 'vitest';
import { BrokerClient } from '../../src/session/broker-client.ts';
import { generateDpopKey } from '../../src/session/enrol.ts';
import { createAuthority } from '../harness.ts';

const open: { server: Server; client: BrokerClient }[] = [];
afterEach(() => {
  for (const { server, client } of open.splice(0)) {
    client.close();
    server.closeAllConnections();
    server.close();
  }
});

async function answering(body: string): Promise<BrokerClient> {
  const authority = await createAuthority('public');
  const server = createServer(await authority.issue('localhost'), (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const client = new BrokerClient({
    url,
    key: generateDpopKey(),
    ca: authority.root,
    now: Date.now,
  });
  open.push({ server, client });
  return client;
}

function service(n: number): ReachableService {
  return {
    grant: 'platform-dev',
    host: `service-number-${n}.shop.svc.cluster.local`,
    port: 8080,
    protocol: 'http',
    aliases: [],
    spiffe_ids: [`spiffe://cluster.local/ns/shop/sa/service-number-${n}`],
    allow: Array.from({ length: 8 }, (_, at) => `GET /api/v1/customers/*/orders/*/positions/${at}/**`),
  } as ReachableService;
}

it('accepts thousands of services for a session', async () => {
  const answer: ServicesResponse = {
    mesh: {
      roots: [],
      trust_domain: 'cluster.local',
      token_header: 'x-meshpass-token',
      edge: { host: 'e', port: 443 },
      statement_keys: [{ ...generateDpopKey().jwk, kid: 'one' }],
    },
    services: Array.from({ length: 2_000 }, (_, n) => service(n)),
    services_version: 'v1',
    held: [],
  };
  const body = JSON.stringify(answer);
  expect(body.length).toBeGreaterThan(1_048_576);
  const client = await answering(body);
  expect((await client.services('token')).services).toHaveLength(2_000);
});

it('refuses an endless response because of its size, not as an unreachable broker', async () => {
  const client = await answering(`{"filling":"${'x'.repeat(17 * 1_048_576)}"}`);
  await expect(client.services('token')).rejects.toMatchObject({
    code: 'agent_broker_answer_invalid',
    message:
      "The agent rejected the broker's response to /services: it is longer than 16777216 bytes. The last valid response stays in use.",
  });
  await expect(client.token('token')).rejects.toMatchObject({
    code: 'agent_broker_answer_invalid',
    message: expect.stringMatching(/response to \/token: it is longer than 1048576 bytes/),
  });
});
