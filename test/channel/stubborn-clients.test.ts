/** Clients that neither close nor read: a control connection waits for them only briefly, and other clients never do. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { createDirectory, type Directory, type Edge, startEdge } from '@meshpass/edge';
import { CONTROL_ALPN } from '@meshpass/identity/channel/frames';
import { sha256Base64url } from '@meshpass/identity/hash';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ca, createCa, svid } from '../../packages/edge/test/mesh-ca.ts';

/** More than the buffers of a connection hold. */
const CONFIGURATION = randomBytes(12 * 1024 * 1024);
const digest = sha256Base64url(CONFIGURATION);
const STUBBORN = 16;

let mesh: Ca;
let web: Ca;
let directory: Directory;
let edge: Edge;
let ahead = 0;
/** Memory before any client asks, bytes. */
let idle = 0;
let clients: TLSSocket[] = [];

beforeEach(async () => {
  [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
  ahead = 0;
  idle = process.memoryUsage.rss();
  const clock = () => Date.now() + ahead;
  directory = createDirectory({ clock });
  directory.apply({ type: 'snapshot', sessions: [], roots: [mesh.root] });
  edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: await web.issue({ san: [{ type: 'dns', value: 'localhost' }] }),
    gateway: { host: '127.0.0.1', port: 9 },
    directory,
    report: () => {},
    clock,
    control: { renew: async () => [], configuration: async () => CONFIGURATION, draining: async () => {} },
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await edge.close();
  directory.close();
});

function advance(ms: number): void {
  ahead += ms;
  directory.apply({ type: 'beat', at: Math.floor((Date.now() + ahead) / 1000) });
}

/** A control connection of a session of its own. */
async function control(id: string): Promise<TLSSocket> {
  const spiffe_id = `spiffe://cluster.local/ns/meshpass-dev/sa/${id}`;
  const expires_at = Math.floor(Date.now() / 1000) + 36_000;
  const principals = [{ spiffe_id, targets: [] }];
  directory.apply({ type: 'admit', session: { id, set: 'dev', expires_at, principals } });
  const client: TLSSocket = connect({
    host: '127.0.0.1',
    port: edge.address.port,
    servername: 'localhost',
    ca: web.root,
    ALPNProtocols: [CONTROL_ALPN],
    allowHalfOpen: true,
    ...(await svid(mesh, spiffe_id)),
  } as object);
  client.on('error', () => {});
  clients = [...clients, client];
  const before = edge.stats().control;
  await once(client, 'secureConnect');
  await expect.poll(() => edge.stats().control).toBe(before + 1);
  return client;
}

const ask = (client: TLSSocket) => client.write(`${JSON.stringify({ type: 'configuration', digest })}\n`);

test('a client that does not close its end is cut a moment after the notice', async () => {
  const client = await control('s1');
  client.resume();
  directory.apply({ type: 'close', id: 's1', reason: 'goodbye' });
  directory.apply({ type: 'notice', id: 's1', statement: 'over' });
  await once(client, 'end');
  expect(edge.stats()).toMatchObject({ control: 0, connections: 1 });
  advance(3_000);
  await expect.poll(() => edge.stats().connections).toBe(0);
});

test('clients that request a configuration and do not read it delay no other client, and are cut after a minute', async () => {
  for (let n = 0; n < STUBBORN; n++) await control(`s${n}`);
  directory.apply({ type: 'configuration', set: 'dev', digest, statement: 'announced' });
  for (const client of clients) ask(client.pause());
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = process.memoryUsage.rss();
  const honest = await control('honest');
  let read = 0;
  honest.on('data', (chunk: Buffer) => {
    read += chunk.length;
  });
  ask(honest);
  await expect.poll(() => read, { timeout: 15_000 }).toBeGreaterThan(CONFIGURATION.length);
  // All of them share the edge's bytes, and have only a slice of them in their connection.
  expect(before - idle).toBeLessThan(10 * CONFIGURATION.length);
  expect(edge.stats().control).toBe(STUBBORN + 1);
  advance(61_000);
  await expect.poll(() => edge.stats().control).toBe(1);
});

test('frames follow the configuration that is being sent, and so does the last one', async () => {
  const client = await control('s1');
  directory.apply({ type: 'configuration', set: 'dev', digest, statement: 'announced' });
  ask(client.pause());
  await new Promise((resolve) => setTimeout(resolve, 200));
  ask(client);
  directory.apply({ type: 'draining', sessions: [{ session_id: 's1', newest_ms: 7 }] });
  directory.apply({ type: 'close', id: 's1', reason: 'goodbye' });
  directory.apply({ type: 'notice', id: 's1', statement: 'over' });
  const chunks: Buffer[] = [];
  client.on('data', (chunk: Buffer) => chunks.push(chunk)).resume();
  await once(client, 'end');
  const lines = Buffer.concat(chunks).toString().trim().split('\n');
  const types = lines.map((line) => (JSON.parse(line) as { readonly type: string }).type);
  expect(types).toEqual(['statement', 'configuration', 'tunnels_draining', 'statement']);
});
