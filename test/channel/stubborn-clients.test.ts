/** Clients that neither close nor read: a control connection waits for them only briefly, and other clients never do. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { createSessionDirectory, type Edge, type SessionDirectory, startEdge } from '@meshpass/edge';
import { sha256Base64url } from '@meshpass/identity';
import { CONTROL_ALPN } from '@meshpass/identity/channel';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ca, createCa, svid } from '../../packages/edge/test/mesh-ca.ts';

/** More than the buffers of a connection hold. */
const CONFIGURATION = randomBytes(12 * 1024 * 1024);
const digest = sha256Base64url(CONFIGURATION);
const NEXT = Buffer.from('the next configuration');
const nextDigest = sha256Base64url(NEXT);
const STUBBORN = 16;

let mesh: Ca;
let web: Ca;
let directory: SessionDirectory;
let edge: Edge;
let ahead = 0;
/** Memory before any client asks, bytes. */
let idle = 0;
/** Configurations that the edge has requested from the broker. */
let requested = 0;
let clients: TLSSocket[] = [];

beforeEach(async () => {
  [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
  ahead = 0;
  requested = 0;
  idle = process.memoryUsage.rss();
  const clock = () => Date.now() + ahead;
  directory = createSessionDirectory({ clock });
  directory.apply({ type: 'snapshot', sessions: [], roots: [mesh.root] });
  edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: await web.issue({ san: [{ type: 'dns', value: 'localhost' }] }),
    gateway: { host: '127.0.0.1', port: 9 },
    directory,
    report: () => {},
    clock,
    control: {
      renew: async () => [],
      configuration: async (announced) => {
        requested++;
        return announced.digest === digest ? CONFIGURATION : NEXT;
      },
      draining: async () => {},
    },
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

const ask = (client: TLSSocket, wanted = digest) =>
  client.write(`${JSON.stringify({ type: 'configuration', digest: wanted })}\n`);

/** Reads at a slow link's pace until the edge ends the connection. Returns the types of all frames. */
async function typesUntilEnd(client: TLSSocket): Promise<string[]> {
  const chunks: Buffer[] = [];
  const read = (chunk: Buffer) => {
    chunks.push(chunk);
    client.pause();
    setTimeout(() => client.resume(), 1);
  };
  client.on('data', read).resume();
  await Promise.race([once(client, 'end'), once(client, 'close')]);
  const lines = Buffer.concat(chunks).toString().trim().split('\n');
  return lines.map((line) => (JSON.parse(line) as { readonly type: string }).type);
}

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
  await expect.poll(() => requested).toBe(1);
  ask(client);
  directory.apply({ type: 'draining', sessions: [{ session_id: 's1', newest_ms: 7 }] });
  directory.apply({ type: 'close', id: 's1', reason: 'goodbye' });
  directory.apply({ type: 'notice', id: 's1', statement: 'over' });
  expect(await typesUntilEnd(client)).toEqual(['statement', 'configuration', 'tunnels_draining', 'statement']);
});

test('a session that has ended gets its notice, and not the configuration that it requested last', async () => {
  const client = await control('s1');
  directory.apply({ type: 'configuration', set: 'dev', digest, statement: 'announced' });
  ask(client.pause());
  await expect.poll(() => requested).toBe(1);
  directory.apply({ type: 'configuration', set: 'dev', digest: nextDigest, statement: 'announced' });
  ask(client, nextDigest);
  await new Promise((resolve) => setTimeout(resolve, 200));
  directory.apply({ type: 'close', id: 's1', reason: 'goodbye' });
  directory.apply({ type: 'notice', id: 's1', statement: 'over' });
  expect(await typesUntilEnd(client)).toEqual(['statement', 'configuration', 'statement', 'statement']);
});
