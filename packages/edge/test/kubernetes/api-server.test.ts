/**
 * Kubernetes API server through the edge: only for sessions with roles, under one name, and only if the operator has
 * configured it.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { KUBERNETES_API } from '@meshpass/identity';
import { afterEach, describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  buildDataPath,
  captureHello,
  connectHead,
  type DataPath,
  hear,
  ORDERS,
  refusalOf,
  say,
} from '../data-path.ts';
import { createCa, svid } from '../mesh-ca.ts';

let dataPath: DataPath;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  await dataPath.close();
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Starts an API server that presents its name and records its clients. */
async function apiServer() {
  const web = await createCa('cluster');
  const server = createTlsServer(await web.issue({ san: [{ type: 'dns', value: KUBERNETES_API.host }] }), (socket) => {
    socket.on('error', () => {});
    socket.write('api');
  });
  const arrivals: unknown[] = [];
  server.on('connection', (socket) => arrivals.push(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return { root: web.root, arrivals, at: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } };
}

async function aliceWithRoles() {
  const api = await apiServer();
  dataPath = await buildDataPath({}, { kubernetesApi: api.at });
  dataPath.admit('s-alice', ALICE, [ORDERS, KUBERNETES_API]);
  return { api, credential: await svid(dataPath.mesh, ALICE) };
}

async function throughEdge(outer: TLSSocket, ca: string, servername: string = KUBERNETES_API.host): Promise<TLSSocket> {
  expect(await say(outer, connectHead(KUBERNETES_API))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  const inner = connect({ socket: outer, servername, ca });
  inner.on('error', () => {});
  return inner;
}

test('a session whose grant has roles reaches the API server itself and receives its certificate', async () => {
  const { api, credential } = await aliceWithRoles();
  const inner = await throughEdge(await dataPath.outer(credential), api.root);
  expect(await hear(inner)).toBe('api');
  expect(inner.authorized).toBe(true);
  expect(dataPath.arrivals).toHaveLength(0);
  expect(dataPath.decisions.at(-1)).toMatchObject({
    outcome: 'allowed',
    session_id: 's-alice',
    target: 'kubernetes.default.svc:443',
  });
});

test('the connection ends with the session, and with the roles', async () => {
  const { api, credential } = await aliceWithRoles();
  for (const end of [
    () => dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'the operator said so' }),
    () => dataPath.admit('s-alice', ALICE, [ORDERS]),
  ]) {
    dataPath.admit('s-alice', ALICE, [ORDERS, KUBERNETES_API]);
    const inner = await throughEdge(await dataPath.outer(credential), api.root);
    expect(await hear(inner)).toBe('api');
    const gone = new Promise((resolve) => inner.once('close', resolve));
    end();
    await gone;
    await dataPath.empty();
  }
  expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_target_not_granted' });
});

describe('the API server is refused', () => {
  test.each([
    ['to a session without roles', 'tunnel_target_not_granted', [ORDERS]],
    [
      'to a session with the same host on another port',
      'tunnel_target_not_granted',
      [{ ...KUBERNETES_API, port: 6443 }],
    ],
  ])('to %s', async (_, code, targets) => {
    const { api, credential } = await aliceWithRoles();
    dataPath.admit('s-alice', ALICE, targets);
    const refusal = refusalOf(await say(await dataPath.outer(credential), connectHead(KUBERNETES_API)));
    expect(refusal.code).toBe(code);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code, id: refusal.decision });
    expect(api.arrivals).toHaveLength(0);
  });

  test('to another principal of the same mesh', async () => {
    const { api } = await aliceWithRoles();
    dataPath.admit('s-bob', BOB, [ORDERS]);
    const outer = await dataPath.outer(await svid(dataPath.mesh, BOB));
    expect(refusalOf(await say(outer, connectHead(KUBERNETES_API))).code).toBe('tunnel_target_not_granted');
    expect(api.arrivals).toHaveLength(0);
  });

  test('if the edge has no route to it', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE, [ORDERS, KUBERNETES_API]);
    const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE));
    expect(refusalOf(await say(outer, connectHead(KUBERNETES_API)))).toMatchObject({
      code: 'tunnel_kubernetes_off',
      status: 'HTTP/1.1 403 Forbidden',
    });
    expect(dataPath.arrivals).toHaveLength(0);
  });

  test.each([
    ['in upper case', 'KUBERNETES.default.svc:443'],
    ['with a final dot', 'kubernetes.default.svc.:443'],
    ['by the port of the gateway', 'kubernetes.default.svc:15443'],
    ['with leading zeros', 'kubernetes.default.svc:0443'],
    ['by its full name', 'kubernetes.default.svc.cluster.local:443'],
  ])('by its name %s', async (_, authority) => {
    const { api, credential } = await aliceWithRoles();
    const head = `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
    const refusal = refusalOf(await say(await dataPath.outer(credential), head));
    expect(['tunnel_request_malformed', 'tunnel_target_not_granted']).toContain(refusal.code);
    expect(api.arrivals).toHaveLength(0);
  });

  test.each([
    ['another name', 'orders.shop.svc.cluster.local'],
    ['the name of a service of the mesh', 'outbound_.8080_._.orders.shop.svc.cluster.local'],
  ])('if the inner TLS requests %s', async (_, servername) => {
    const { api, credential } = await aliceWithRoles();
    const outer = await dataPath.outer(credential);
    expect(await say(outer, connectHead(KUBERNETES_API))).toMatch(/^HTTP\/1\.1 200/);
    outer.write(await captureHello(servername));
    await once(outer, 'end');
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code: 'tunnel_sni_mismatch' });
    // The edge dialled it, and sent no byte.
    expect(api.arrivals.length).toBeLessThanOrEqual(1);
  });

  test('with the name of the API server inside a tunnel to a service', async () => {
    const { credential } = await aliceWithRoles();
    const outer = await dataPath.outer(credential);
    expect(await say(outer, connectHead(ORDERS))).toMatch(/^HTTP\/1\.1 200/);
    outer.write(await captureHello(KUBERNETES_API.host));
    await once(outer, 'end');
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code: 'tunnel_sni_mismatch' });
  });
});

test('an API server that does not answer results in an error that names it', async () => {
  const closed = createTcpServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  closed.close();
  dataPath = await buildDataPath({}, { kubernetesApi: { host: '127.0.0.1', port } });
  dataPath.admit('s-alice', ALICE, [KUBERNETES_API]);
  const answer = await say(await dataPath.outer(await svid(dataPath.mesh, ALICE)), connectHead(KUBERNETES_API));
  expect(refusalOf(answer).code).toBe('tunnel_gateway_unreachable');
  expect(answer).toContain('Kubernetes API server');
});
