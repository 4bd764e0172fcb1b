/** The agent through the edge that is shipped, so that the two keep to the same protocol. */

import { get } from 'node:http';
import { createDirectory, startEdge } from '@meshpass/edge';
import type { EdgeDecision } from '@meshpass/identity/wire';
import { expect, test } from 'vitest';
import { createAuthority, service, startWorkload } from './harness.ts';
import { startBroker } from './test-broker.ts';
import { afterThisTest, agentAt, echoHeads } from './world.ts';

async function throughTheEdge() {
  const [mesh, publicCa] = [await createAuthority('mesh'), await createAuthority('public')];
  const workload = await startWorkload(
    await mesh.issue('spiffe://cluster.local/ns/shop/sa/orders'),
    mesh.root,
    echoHeads,
  );
  const directory = createDirectory({ clock: Date.now });
  const decisions: EdgeDecision[] = [];
  const edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: await publicCa.issue('localhost'),
    gateway: { host: '127.0.0.1', port: workload.port },
    directory,
    report: (decision) => decisions.push(decision),
  });
  directory.apply({ type: 'snapshot', sessions: [], roots: [mesh.root] });
  const services = [service()];
  const broker = await startBroker(
    await publicCa.issue('localhost'),
    mesh,
    { host: 'localhost', port: edge.address.port },
    services,
  );
  afterThisTest(() => edge.close());
  afterThisTest(() => directory.close());
  afterThisTest(() => workload.close());
  afterThisTest(() => broker.close());
  const agent = await agentAt(broker.url, publicCa.root);
  const admit = () =>
    directory.apply({
      type: 'admit',
      session: {
        id: 'ses-1',
        subject: 'github:583231',
        expires_at: Math.floor(Date.now() / 1000) + 3600,
        principals: [
          {
            spiffe_id: 'spiffe://cluster.local/ns/meshpass-payments-dev/sa/octocat-1',
            targets: [{ host: 'orders.shop.svc.cluster.local', port: 8080 }],
          },
        ],
      },
    });
  return { agent, directory, decisions, admit };
}

function call(host: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get({ host, port: 8080, path: '/orders/1', headers: { host: 'orders.shop' } }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, body }));
      response.on('error', reject);
    }).on('error', reject);
  });
}

test('admitted a moment late, the first call succeeds; closed, the next one says so', async () => {
  const { agent, directory, decisions, admit } = await throughTheEdge();
  const address = agent.status().services[0]!.address!;
  setTimeout(admit, 200);
  const first = await call(address);
  expect(first.status).toBe(200);
  expect(first.body).toContain('x-meshpass-token: ');
  expect(decisions.find((decision) => decision.outcome === 'allowed')).toMatchObject({
    session_id: 'ses-1',
    target: 'orders.shop.svc.cluster.local:8080',
  });

  directory.apply({ type: 'close', id: 'ses-1', reason: 'admin' });
  const second = await call(address);
  expect(second.status).toBe(403);
  expect(second.body).toContain('belongs to no live session');
});
