/** The edge serves a workspace's Envoy: its TLS, session resumption, CONNECT, and refusals. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { ensureEnvoy } from '@meshpass/lab/install/tools';
import { afterEach, expect, test } from 'vitest';
import { ALICE, buildDataPath, closed, type DataPath, LEDGER, say } from './data-path.ts';
import { type EnvoyClient, startEnvoy } from './envoy-client.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
let envoy: EnvoyClient;
afterEach(async () => {
  await envoy.stop();
  await dataPath.close();
});

const V2 = 'outbound_.8080_.v2_.orders.shop.svc.cluster.local';

async function start(sni: string): Promise<void> {
  dataPath = await buildDataPath();
  dataPath.admit('s-alice', ALICE);
  envoy = await startEnvoy({
    binary: await ensureEnvoy(() => {}),
    edgePort: dataPath.edge.address.port,
    credential: await svid(dataPath.mesh, ALICE),
    webRoot: dataPath.web.root,
    meshRoot: dataPath.mesh.root,
    sni,
  });
}

async function dial(): Promise<Socket> {
  const socket = connect(envoy.port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

test('an Envoy reaches a subset of a granted service through the edge, over TLS 1.3', async () => {
  await start(V2);
  const socket = await dial();
  expect(await say(socket, 'hello')).toBe('hello');
  expect(await say(socket, 'x'.repeat(1000))).toBe('x'.repeat(1000));
  expect(dataPath.decisions).toMatchObject([
    { outcome: 'allowed', target: 'orders.shop.svc.cluster.local:8080', sni: V2, spiffe_id: ALICE },
  ]);
  expect(await envoy.stats()).toMatchObject({ 'ssl.versions.TLSv1.3': 1, 'ssl.handshake': 1 });
  socket.destroy();
});

test('an Envoy resumes its TLS session with the edge, and the edge still knows its identity', async () => {
  await start(V2);
  // The edge issues two tickets with a full handshake and none with a resumed one; Envoy uses each once.
  for (let n = 0; n < 3; n++) {
    const socket = await dial();
    expect(await say(socket, 'hello')).toBe('hello');
    socket.destroy();
    await dataPath.empty();
  }
  expect(dataPath.edge.stats().resumed).toBe(2);
  expect(await envoy.stats()).toMatchObject({ 'ssl.session_reused': 2 });
  const allowed = dataPath.decisions.filter((decision) => decision.outcome === 'allowed');
  expect(allowed.map((decision) => decision.spiffe_id)).toEqual([ALICE, ALICE, ALICE]);
});

test('an Envoy finds the code of a refusal and the id of its decision in its access log', async () => {
  await start(`outbound_.${LEDGER.port}_._.${LEDGER.host}`);
  const socket = await dial();
  await closed(socket);
  await expect.poll(() => envoy.accessLog().length).toBeGreaterThan(0);
  const [refused] = dataPath.decisions;
  expect(refused).toMatchObject({ outcome: 'refused', code: 'tunnel_target_not_granted' });
  const logged = JSON.stringify(envoy.accessLog());
  expect(logged).toContain('tunnel_target_not_granted');
  expect(logged).toContain(refused!.id);
});

test('an Envoy is cut at once with its session', async () => {
  await start(V2);
  const socket = await dial();
  expect(await say(socket, 'hello')).toBe('hello');
  const cut = closed(socket);
  dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'operator' });
  await cut;
  await dataPath.empty();
});
