/** A service under its own name: through the workspace's Envoy, the edge and the workload's TLS. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { sendControlRequest } from '../../src/control/control.ts';
import type { ExplainResponse } from '../../src/explain/answer.ts';
import { service } from '../harness.ts';
import { addressOf, echoHeads, request, world } from '../world.ts';

test('sends a request to the workload with the identity token and the SVID', async () => {
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

test('explains a policy refusal with the allowed calls and the session', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*', 'GET /100%'] })],
  });
  const { status, body, headers } = await request(await addressOf(w), 8080, '/admin/users');
  expect(status).toBe(403);
  expect(headers['x-meshpass-code']).toBe('agent_policy_refused');
  const [, request_] = /request ([0-9a-f-]{36})/.exec(body) ?? [];
  expect(body).toBe(
    'meshpass: GET /admin/users refused by policy at orders.shop: your grant payments-dev allows GET /orders/*, ' +
      `GET /100% (hop workload, session ses-1, request ${request_}; share these with your platform team to find the call in the audit log). ` +
      'Next: meshpass explain --last\n',
  );
  await expect
    .poll(async () => (await w.agent.status()).refusals)
    .toMatchObject([
      { hop: 'workload', code: 'agent_policy_refused', what: 'GET orders.shop:8080/admin/users', request: request_ },
    ]);
});

test('reports refusals with the next renewal of the lease: hop and count, but no path', async () => {
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
    .poll(() => w.broker.reports.flatMap(({ refusals }) => refusals ?? []).reduce((sum, { count }) => sum + count, 0))
    .toBe(2);
  const told = w.broker.reports.flatMap(({ refusals }) => refusals ?? []);
  for (const { ids: _, count: __, ...kind } of told)
    expect(kind).toEqual({
      hop: 'workload',
      host: 'orders.shop.svc.cluster.local',
      port: 8080,
      method: 'GET',
      status: 403,
      code: 'agent_policy_refused',
    });
  expect(told.flatMap((one) => one.ids).sort()).toEqual(ids.sort());
  expect(JSON.stringify(w.broker.reports)).not.toContain('secret');
});

test('explains a call before it is made, with services, listeners and routes', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*'] })],
  });
  const address = await addressOf(w);
  const call = { method: 'GET', path: '/orders/1', host: 'orders.shop', port: 8080, headers: {} };
  const said = await sendControlRequest<ExplainResponse>(w.runtimeDirectory, { command: 'explain', call });
  expect(said).toMatchObject({
    session: { id: 'ses-1', login: 'octocat', grants: ['payments-dev'] },
    services: [{ host: 'orders.shop.svc.cluster.local', port: 8080, allow: ['GET /orders/*'] }],
    listening: expect.arrayContaining([`${address}:8080`]),
    routes: { 'payments-dev': { kind: 'forward', to: [{ host: 'orders.shop.svc.cluster.local', port: 8080 }] } },
  });
  expect(JSON.stringify(said)).not.toMatch(/head\.token|PRIVATE/);
  const nameless = sendControlRequest(w.runtimeDirectory, {
    command: 'explain',
    call: { ...call, host: 'nobody.knows' },
  });
  expect(await nameless).toMatchObject({ routes: {} });
});

test('refuses a foreign Host or X-Forwarded-Host and sends nothing', async () => {
  const heads: string[] = [];
  const w = await world({
    onConnection: (socket) => {
      socket.on('data', (data) => heads.push(data.toString('latin1')));
      echoHeads(socket);
    },
  });
  const address = await addressOf(w);
  const forwarded = await request(address, 8080, '/orders/1', { 'x-forwarded-host': 'x-8080.app.github.dev' });
  expect(forwarded.status).toBe(421);
  expect(forwarded.body).toContain('the request is for x-8080.app.github.dev');
  expect((await request(address, 8080, '/orders/1', { host: 'x-8080.app.github.dev' })).status).toBe(502);
  // The connection opens before the first call.
  expect(heads).toEqual([]);
  expect((await request(address, 8080, '/orders/1', { 'x-forwarded-host': 'orders.shop:8080' })).status).toBe(200);
});

test("does not let another site's page use the identity through a browser, by any method or WebSocket", async () => {
  const heard: unknown[] = [];
  const w = await world({
    onConnection: (socket) => socket.on('data', (data) => heard.push(String(data))),
    adjust: (broker) => {
      broker.spoilConfiguration = ({ listeners }) => {
        const [{ filters }] = listeners[0].filter_chains;
        filters[0].typed_config.upgrade_configs = [{ upgrade_type: 'websocket' }];
      };
    },
  });
  const address = await addressOf(w);
  const webSocket = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==' };
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'https://evil.example', ...webSocket, 'sec-websocket-version': '13' },
    { origin: 'null' },
    { origin: 'http://orders.shop.evil.example:8080' },
    { origin: 'http://orders.shop:8080@evil.example' },
    { origin: 'http://orders.shop:8080, https://evil.example' },
    { origin: 'http://127.0.0.1:3000' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site', origin: 'http://orders.shop:8080' },
    { 'sec-fetch-site': 'same-origin, cross-site' },
    // As with DNS rebinding, where the name of the page's site now leads here: no route has that name.
    { host: 'evil.example:8080', origin: 'http://evil.example:8080' },
  ] as Record<string, string>[]) {
    const { status, headers: answered, body } = await request(address, 8080, '/orders/1', headers);
    expect({ headers, status, code: answered['x-meshpass-code'] }).toEqual({
      headers,
      status: 421,
      code: 'agent_foreign_host',
    });
    expect(body).toContain('a browser sent this request for a page of another site');
  }
  expect((await request(address, 8080, '/orders/1', { host: 'evil.example:8080' })).status).toBe(502);
  expect(heard).toEqual([]);
  await expect
    .poll(async () => (await w.agent.status()).refusals.map(({ hop, code }) => ({ hop, code })))
    .toContainEqual({ hop: 'workspace', code: 'agent_foreign_host' });
});

test("serves programs, the service's own pages, and a page's own server that forwards a request", async () => {
  const w = await world();
  const address = await addressOf(w);
  for (const headers of [
    {},
    { 'sec-fetch-mode': 'cors' },
    { 'sec-fetch-site': 'none' },
    { origin: 'http://orders.shop:8080' },
    { origin: 'http://orders.shop.svc.cluster.local:8080', 'sec-fetch-site': 'same-origin' },
    { origin: 'https://fluffy-8412-3000.app.github.dev', 'sec-fetch-site': 'same-origin' },
  ] as Record<string, string>[]) {
    const { status } = await request(address, 8080, '/orders/1', headers);
    expect({ headers, status }).toEqual({ headers, status: 200 });
  }
});

test('sends no request to a workload with another SPIFFE id', async () => {
  const w = await world({
    services: [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/somebody-else'] })],
  });
  const { status, body } = await request(await addressOf(w), 8080, '/orders/1', { accept: 'application/json' });
  expect(status).toBe(503);
  expect(JSON.parse(body)).toMatchObject({ error_code: 'agent_edge_unreachable', session_id: 'ses-1' });
  expect(body).toContain('CERTIFICATE_VERIFY_FAILED');
});

test("shows the edge's refusal in the status, with its code and decision id", async () => {
  const w = await world();
  w.edge.refuse = { status: 429, body: { error_code: 'tunnel_limit', error_description: 'Too many connections.' } };
  expect((await request(await addressOf(w), 8080, '/orders/1')).status).toBe(503);
  await expect
    .poll(async () => (await w.agent.status()).refusals)
    .toContainEqual(
      expect.objectContaining({
        hop: 'edge',
        what: 'orders.shop.svc.cluster.local:8080',
        code: 'tunnel_limit',
        decision: 'dec-1',
      }),
    );
});

test('carries raw TCP both ways; a refused connection ends, and the status shows the reason', async () => {
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

test('connects each of two services with its own grant, certificate and workload', async () => {
  const [network] = service().address!.match(/^127\.\d+\.\d+/)!;
  const w = await world({
    services: [
      service(),
      service({
        host: 'ledger.shop.svc.cluster.local',
        aliases: ['ledger.shop'],
        grant: 'audit',
        port: 8081,
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

const ID = '6b1d3c2e-6f0e-4a0a-9b53-0d6f7c0f8a11';
const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

test('configures Envoy to accept the regular expressions that a sidecar accepts, such as one with two UUIDs', async () => {
  const w = await world({
    adjust: (broker) => {
      broker.spoilConfiguration = ({ routes }) => {
        const [first] = routes[0].virtual_hosts[0].routes;
        const answer = (regex: string, status: number) => ({
          match: { safe_regex: { regex } },
          direct_response: { status },
        });
        routes[0].virtual_hosts[0].routes = [
          answer(`/uuid/${UUID}/${UUID}`, 418),
          answer(`/${'x'.repeat(1_000)}`, 419),
          first,
        ];
      };
    },
  });
  const address = await addressOf(w);
  expect((await w.agent.status()).configuration.rejected).toEqual([]);
  const status = async (path: string) => (await request(address, 8080, path)).status;
  expect(await status(`/uuid/${ID}/${ID}`)).toBe(418);
  expect(await status(`/${'x'.repeat(1_000)}`)).toBe(419);
  expect(await status('/uuid/none')).toBe(200);
});

test('builds a listener that Envoy accepts for a service with long names', async () => {
  const [name, namespace] = ['a'.repeat(63), 'b'.repeat(63)];
  const aliases = [`${name}.${namespace}.svc`, `${name}.${namespace}`];
  const host = `${aliases[0]}.cluster.local`;
  const spiffe_ids = [`spiffe://cluster.local/ns/${namespace}/sa/orders`];
  const w = await world({ services: [service({ host, aliases, spiffe_ids })] });
  const address = await addressOf(w);
  expect((await w.agent.status()).configuration.rejected).toEqual([]);
  const named = (forwarded: string) =>
    request(address, 8080, '/orders/1', { host: `${host}:8080`, 'x-forwarded-host': forwarded });
  // The workload in this test has another name.
  expect((await named(`${aliases[1]}:8080`)).status).toBe(503);
  expect((await named('8080.example')).status).toBe(421);
});

test('explains what the broker left out of routes, and its response instead of a route', async () => {
  const error_description = 'A route of this service requires a feature that workspaces do not support (x: y).';
  const refusal = { error: 'access_denied', error_code: 'agent_route_unsupported', error_description };
  const w = await world({
    adjust: (broker) => {
      broker.spoilConfiguration = (written) => {
        written.left_out = [{ what: 'envoy.config.core.v3.HeaderValue.value', where: 'RouteConfiguration', count: 2 }];
        const body = { inline_string: JSON.stringify(refusal) };
        const answer = { match: { prefix: '/unsupported' }, direct_response: { status: 502, body } };
        written.routes[0].virtual_hosts[0].routes.unshift(answer);
      };
    },
  });
  const address = await addressOf(w);
  const explained = (path: string) =>
    sendControlRequest<ExplainResponse>(w.runtimeDirectory, {
      command: 'explain',
      call: { method: 'GET', path, host: 'orders.shop', port: 8080, headers: {} },
    });
  const notes = [
    expect.stringContaining("omitted from this workspace's routes: envoy.config.core.v3.HeaderValue.value"),
  ];
  expect((await explained('/orders/1')).routes['payments-dev']).toMatchObject({ kind: 'forward', notes });
  expect((await explained('/unsupported')).routes['payments-dev']).toMatchObject({
    kind: 'answer',
    status: 502,
    refusal: { code: 'agent_route_unsupported', description: error_description },
  });
  const answer = await request(address, 8080, '/unsupported');
  expect(answer.status).toBe(502);
  expect(answer.headers['x-meshpass-code']).toBe('agent_route_unsupported');
  expect(JSON.parse(answer.body)).toMatchObject({ ...refusal, session_id: 'ses-1' });
});

test('names the contact of the access file in refusals', async () => {
  const w = await world({
    services: [service({ allow: ['GET /orders/*'] })],
    adjust: (broker) => {
      broker.contact = 'https://acme.example/mesh?for=100%';
    },
  });
  const { body } = await request(await addressOf(w), 8080, '/admin/users');
  expect(body).toContain('; share these with https://acme.example/mesh?for=100% to find the call in the audit log)');
  expect((await w.agent.status()).contact).toBe('https://acme.example/mesh?for=100%');
});
