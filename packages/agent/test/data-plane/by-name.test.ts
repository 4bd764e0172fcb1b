/** A service under its own name: through the workspace's Envoy, the edge and the workload's TLS. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { askAgent } from '../../src/control/control.ts';
import type { ExplainAnswer } from '../../src/explain/answer.ts';
import { service } from '../harness.ts';
import { request, type World, world } from '../world.ts';

const addressOf = async ({ agent }: World) => (await agent.status()).services[0]!.address!;

test('a request reaches the workload with the identity token and the SVID', async () => {
  const w = await world();
  const address = await addressOf(w);
  const { status, body } = await request(address, 8080, '/orders/1', { 'x-meshpass-token': 'forged' });
  expect(status).toBe(200);
  expect(body).toMatch(/^GET \/orders\/1 HTTP\/1\.1\r\n/);
  expect(body).toMatch(/x-meshpass-token: head\.token\d+\.sig\r\n/);
  expect(body).not.toContain('forged');
  expect(w.workload.seen[0]).toMatchObject({
    servername: 'outbound_.8080_._.orders.shop.svc.cluster.local',
    peer: 'URI:spiffe://cluster.local/ns/meshpass-payments-dev/sa/octocat-1',
  });
  expect(readFileSync(w.hostsFile, 'utf8')).toContain(
    `${address} orders.shop.svc.cluster.local orders.shop.svc orders.shop\n`,
  );
  await w.agent.close();
  expect(readFileSync(w.hostsFile, 'utf8')).toBe('127.0.0.1 localhost\n');
});

test('a refusal of the policy says what is allowed and names the session', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*', 'GET /100%'] })],
  });
  const { status, body, headers } = await request(await addressOf(w), 8080, '/admin/users');
  expect(status).toBe(403);
  expect(headers['x-meshpass-code']).toBe('agent_policy_refused');
  const [, request_] = /request ([0-9a-f-]{36})/.exec(body) ?? [];
  expect(body).toBe(
    'meshpass: GET /admin/users refused by policy at orders.shop: your grant payments-dev allows GET /orders/*, ' +
      `GET /100% (hop workload, session ses-1, request ${request_}: give them to your platform team, they are in the audit log). ` +
      'Next: meshpass explain --last\n',
  );
  await expect
    .poll(async () => (await w.agent.status()).refusals)
    .toMatchObject([
      { hop: 'workload', code: 'agent_policy_refused', what: 'GET orders.shop:8080/admin/users', request: request_ },
    ]);
});

test('the broker is told of refusals with the next heartbeat: where, how often, and no path', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*'] })],
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
    },
  });
  const address = await addressOf(w);
  const bodies: string[] = [];
  for (const path of ['/admin/secret-1', '/admin/secret-2?key=secret-3'])
    bodies.push((await request(address, 8080, path, { 'x-more': 'secret-4' })).body);
  const ids = bodies.map((body) => /request ([0-9a-f-]{36})/.exec(body)![1]!);
  await expect
    .poll(() => w.broker.reports.flatMap(({ refusals }) => refusals ?? []).reduce((sum, { count }) => sum + count, 0), {
      timeout: 5000,
    })
    .toBe(2);
  const told = w.broker.reports.flatMap(({ refusals }) => refusals ?? []);
  for (const { ids: _, count: __, ...kind } of told)
    expect(kind).toEqual({
      ...{ hop: 'workload', host: 'orders.shop.svc.cluster.local', port: 8080 },
      ...{ method: 'GET', status: 403, code: 'agent_policy_refused' },
    });
  expect(told.flatMap((one) => one.ids).sort()).toEqual(ids.sort());
  expect(JSON.stringify(w.broker.reports)).not.toContain('secret');
});

test('the agent says what it knows of a call before it is made: services, listeners and routes', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*'] })],
  });
  const address = await addressOf(w);
  const call = { method: 'GET', path: '/orders/1', host: 'orders.shop', port: 8080, headers: {} };
  const said = await askAgent<ExplainAnswer>(w.runtimeDirectory, { command: 'explain', call });
  expect(said).toMatchObject({
    session: { id: 'ses-1', login: 'octocat', grants: ['payments-dev'] },
    services: [{ host: 'orders.shop.svc.cluster.local', port: 8080, allow: ['GET /orders/*'] }],
    listening: expect.arrayContaining([`${address}:8080`]),
    routes: { 'payments-dev': { kind: 'forward', to: [{ host: 'orders.shop.svc.cluster.local', port: 8080 }] } },
  });
  expect(JSON.stringify(said)).not.toMatch(/head\.token|PRIVATE/);
  const nameless = askAgent(w.runtimeDirectory, { command: 'explain', call: { ...call, host: 'nobody.knows' } });
  expect(await nameless).toMatchObject({ routes: {} });
});

test('a foreign Host or X-Forwarded-Host is refused and nothing is sent', async () => {
  const w = await world();
  const address = await addressOf(w);
  const forwarded = await request(address, 8080, '/orders/1', { 'x-forwarded-host': 'x-8080.app.github.dev' });
  expect(forwarded.status).toBe(421);
  expect(forwarded.body).toContain('the request names x-8080.app.github.dev');
  expect((await request(address, 8080, '/orders/1', { host: 'x-8080.app.github.dev' })).status).toBe(502);
  expect(w.workload.seen).toEqual([]);
  expect((await request(address, 8080, '/orders/1', { 'x-forwarded-host': 'orders.shop:8080' })).status).toBe(200);
});

test('a workload with another SPIFFE id gets no request', async () => {
  const w = await world({
    services: [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/somebody-else'] })],
  });
  const { status, body } = await request(await addressOf(w), 8080, '/orders/1', { accept: 'application/json' });
  expect(status).toBe(503);
  expect(JSON.parse(body)).toMatchObject({ error_code: 'agent_edge_unreachable', session_id: 'ses-1' });
  expect(body).toContain('CERTIFICATE_VERIFY_FAILED');
});

test("the edge's refusal is in the status, with its code and the id of its decision", async () => {
  const w = await world();
  w.edge.refuse = { status: 429, body: { error_code: 'tunnel_limit', error_description: 'Too many connections.' } };
  expect((await request(await addressOf(w), 8080, '/orders/1')).status).toBe(503);
  await expect
    .poll(async () => (await w.agent.status()).refusals)
    .toContainEqual(
      expect.objectContaining({
        ...{ hop: 'edge', what: 'orders.shop.svc.cluster.local:8080', code: 'tunnel_limit', decision: 'dec-1' },
      }),
    );
});

test('bytes of a raw TCP connection pass both ways; a refused one just ends, and the status tells why', async () => {
  const w = await world({
    services: [service({ protocol: 'tcp' })],
    onConnection: (socket) => socket.pipe(socket),
  });
  const address = await addressOf(w);
  const good = connect(8080, address);
  good.write('hello');
  expect(String((await once(good, 'data'))[0])).toBe('hello');
  good.destroy();
  w.edge.refuse = { status: 403, body: { error_code: 'tunnel_session_unknown', error_description: 'No.' } };
  const refused = connect(8080, address);
  refused.on('error', () => {});
  await once(refused, 'close');
  await expect
    .poll(async () => (await w.agent.status()).refusals)
    .toContainEqual(expect.objectContaining({ hop: 'edge', code: 'tunnel_session_unknown' }));
});

test('of two services each has its own grant, certificate and workload', async () => {
  const [network] = service().address!.match(/^127\.\d+\.\d+/)!;
  const w = await world({
    services: [
      service(),
      service({
        ...{ host: 'ledger.shop.svc.cluster.local', aliases: ['ledger.shop'], grant: 'audit', port: 8081 },
        address: `${network}.253`,
      }),
    ],
  });
  expect((await request(service().address!, 8080, '/orders/1')).status).toBe(200);
  const { status } = await request(`${network}.253`, 8081, '/ledger', { host: 'ledger.shop:8081' });
  expect(status).toBe(200);
  const seen = new Set(w.workload.seen.map(({ servername, peer }) => `${servername} ${peer}`));
  expect([...seen].sort()).toEqual([
    'outbound_.8080_._.orders.shop.svc.cluster.local URI:spiffe://cluster.local/ns/meshpass-payments-dev/sa/octocat-1',
    'outbound_.8081_._.ledger.shop.svc.cluster.local URI:spiffe://cluster.local/ns/meshpass-audit/sa/octocat-1',
  ]);
});
