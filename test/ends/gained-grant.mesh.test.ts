/**
 * A live session gains grants on the real mesh, while calls of its other grants continue: by a wider access file and by a time window. It
 * loses them on time, and neither a killed broker nor a restarted edge loses a grant or keeps one.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';
import { startTraffic } from '../traffic/steady-traffic.ts';

let dataPath: DataPath;
let session: string;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-gained-'));
const measured: string[] = [];
const HOSTS = ['workspace', 'workspace-2'];

const TRUST = 'trust: {codespaces: {organization: acme}}\ngrants:\n';
const WHO = '    who: [{user: alice}]\n';
const LEDGER = '      - {service: ledger-db.shop, port: 5432}\n';
const BASE = `  base:\n${WHO}    to:\n      - {service: orders.shop, port: 8080, allow: [GET /orders/*]}\n${LEDGER}`;
/** Holds the same ports as `base`. */
const same = (name: string, path: string, more = '') =>
  `  ${name}:\n${WHO}${more}    to:\n      - {service: orders.shop, port: 8080, allow: [GET ${path}]}\n${LEDGER}`;

beforeAll(async () => {
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, TRUST + BASE);
  dataPath = await openDataPath({ accessFile, edgeApart: true });
  for (const host of HOSTS) {
    const env = await dataPath.environment('alice', host);
    const up = await dataPath.lab.exec(host, ['meshpass', 'up', '--output', 'json'], { env });
    expect(up.code, up.stderr).toBe(0);
  }
  session = (await status()).session.id;
}, 180_000);
afterAll(async () => {
  if (measured.length > 0) console.log(measured.join('\n'));
  for (const host of HOSTS) await dataPath?.lab.exec(host, ['meshpass', 'down']);
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

const put = (text: string) => writeFileSync(dataPath.meshpass.accessFile, TRUST + text);
const CURL = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}'];
const call = async (path: string, host = 'workspace') =>
  (await dataPath.lab.exec(host, [...CURL, `http://orders.shop:8080${path}`])).stdout.trim();
async function status(host = 'workspace'): Promise<AgentStatus> {
  return JSON.parse((await dataPath.lab.exec(host, ['meshpass', 'status', '--output', 'json'])).stdout) as AgentStatus;
}
/** @returns ms until the call is answered so, from a moment on */
async function answered(code: string, path: string, since: number, host?: string, patience = 30): Promise<number> {
  await until(
    () => call(path, host),
    (seen) => seen === code,
    patience,
  );
  return Date.now() - since;
}
const rows = async (action: string) => (await dataPath.audit({ session })).filter((row) => row.action === action);
/** Once there is one: calls are refused before the store has the row. */
const narrowed = (grant: string) =>
  until(
    async () => (await rows('session.narrow')).filter((row) => row.grant_name === grant),
    (found) => found.length > 0,
  );
const instant = (at: number) => new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');

it('gains a grant when its window opens, and loses it when it closes, and no call of another grant on its ports is lost', async () => {
  // Before the traffic begins, because a change of policy drains the workloads' connections.
  const opens = Math.ceil(Date.now() / 1000) * 1000 + 25_000;
  const closes = opens + 15_000;
  put(`${BASE}${same('timed', '/whoami', `    during: [{after: ${instant(opens)}, before: ${instant(closes)}}]\n`)}`);
  await until(
    async () =>
      (await dataPath.audit()).some(({ action, outcome }) => action === 'policy.apply' && outcome === 'allowed'),
    (applied) => applied,
  );
  const traffic = await startTraffic(dataPath.lab, 'workspace');
  expect(await call('/whoami')).toBe('403');
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, opens - 500 - Date.now())));
  const [own, other] = await Promise.all(HOSTS.map((host) => answered('200', '/whoami', opens, host)));
  measured.push(`${own} ms  window opens to first 200, ${other} ms in the other workspace`);
  const held = (await status()).credentials.svids.find(({ grant }) => grant === 'timed');
  expect(held).toMatchObject({ gained: 'window_opened', heldUntil: closes });
  await traffic.goesOn();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, closes - 1_000 - Date.now())));
  await until(
    () => call('/whoami'),
    (code) => code !== '200',
  );
  const took = Date.now() - closes;
  measured.push(`${took} ms  window closes to first refusal`);
  expect(took).toBeGreaterThan(-1_000);
  await answered('403', '/whoami', closes);
  await traffic.goesOn();
  expect((await traffic.end()).failures).toEqual([]);
  expect(await rows('session.widen')).toMatchObject([{ outcome: 'allowed', grant_name: 'timed' }]);
  expect(await narrowed('timed')).toMatchObject([{ outcome: 'ended' }]);
}, 180_000);

it('gains a grant of a wider file, first on a port of another grant, and loses it with the file', async () => {
  // It ends before the sidecars drain connections, 45 s after a change of policy.
  const traffic = await startTraffic(dataPath.lab, 'workspace');
  const slow = dataPath.lab.exec('workspace', [...CURL, '-m', '30', 'http://orders.shop:8080/orders/1?after=8000']);
  const began = Date.now();
  // Before the other in the file: its listener comes first now.
  put(`  first:\n${WHO}    to: [{service: orders.shop, port: 8080, allow: [GET /whoami]}]\n${BASE}`);
  measured.push(`${await answered('200', '/whoami', began)} ms  wider file to first 200`);
  expect(await call('/orders/1')).toBe('200');
  await traffic.goesOn();
  expect((await slow).stdout.trim()).toBe('200');
  const { credentials, session: own, configuration, envoy } = await status();
  expect(own.id).toBe(session);
  expect(credentials.svids.find(({ grant }) => grant === 'first')).toMatchObject({ gained: 'access_widened' });
  expect([configuration.refused, configuration.rejected, envoy.restarts]).toEqual([[], [], 0]);
  put(BASE);
  await answered('403', '/whoami', Date.now());
  await traffic.goesOn();
  expect((await traffic.end()).failures).toEqual([]);
}, 120_000);

it('gains it again while the previous principal is denied', async () => {
  const began = Date.now();
  put(BASE + same('first', '/whoami'));
  measured.push(`${await answered('200', '/whoami', began)} ms  gained again to first 200`);
  expect(await narrowed('first')).toMatchObject([{ outcome: 'ended' }]);
}, 120_000);

it('matches the store after the broker is killed before it notified the edge, and an edge restarts', async () => {
  put(BASE + same('first', '/whoami') + same('late', '/bytes/1'));
  await until(
    () => rows('session.widen'),
    (found) => found.some((row) => row.grant_name === 'late'),
    30,
  );
  await dataPath.lab.kill('meshpass');
  await dataPath.lab.kill('edge');
  await dataPath.lab.restart('meshpass');
  await dataPath.lab.restart('edge');
  // Broker and edge both restart, and the agent pauses between its attempts.
  const back = Date.now();
  measured.push(`${await answered('200', '/bytes/1', back, undefined, 90)} ms  broker and edge back to first 200`);
  await until(
    async () => (await status()).lease.by,
    (by) => by === 'channel',
    90,
  );
  measured.push(`${Date.now() - back} ms  broker and edge back to a lease by the control channel`);
  const { session: own, credentials } = await status();
  expect(own.id).toBe(session);
  expect(credentials.svids.map(({ grant }) => grant).sort()).toEqual(['base', 'first', 'late']);
  expect((await rows('session.widen')).filter((row) => row.grant_name === 'late')).toHaveLength(1);
}, 180_000);

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
