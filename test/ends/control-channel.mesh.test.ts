/**
 * The control channel of a running agent, through an edge that is a process of its own: what it brings, how fast an end is heard, and
 * what becomes of the session when edge or broker are killed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
let accessFile: string;
const applied: KubeObject[] = [];

beforeAll(async () => {
  dataPath = await openDataPath({ edgeApart: true, flags: ['--lease', '12', '--heartbeat', '4'] });
  accessFile = readFileSync(dataPath.meshpass.accessFile, 'utf8');
  await up();
});
afterEach(async () => {
  for (const object of applied.splice(0)) await dataPath.lab.kubernetes.remove(object);
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
});

async function up(): Promise<void> {
  const env = await dataPath.environment();
  const { code, stderr } = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
  expect(code, stderr).toBe(0);
}

const status = async () =>
  JSON.parse((await dataPath.lab.exec('workspace', ['meshpass', 'status', '--output', 'json'])).stdout) as AgentStatus;
const leasedBy = (by: AgentStatus['lease']['by'], seconds = 60) =>
  until(status, ({ lease }) => lease.by === by, seconds);
const call = async () => {
  const curl = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', 'http://orders.shop:8080/orders/1'];
  return (await dataPath.lab.exec('workspace', curl)).stdout.trim();
};
const isCalled = (answer: string) => until(call, (code) => code === answer, 60);

/** Lines of the agent's log with this event, and when each was written, Unix ms. */
async function logged(event: string): Promise<readonly { readonly at: number; readonly line: string }[]> {
  const { stdout } = await dataPath.lab.exec('workspace', ['sh', '-c', 'cat "$HOME"/.meshpass/agent.log']);
  const lines = stdout.split('\n').filter((line) => line.includes(event));
  return lines.map((line) => ({ at: Date.parse(/\d{4}-\d\d-\d\dT[0-9:.]+Z/.exec(line)?.[0] ?? ''), line }));
}

/** Ends the session, and waits until the agent knows. @returns time in its log, Unix ms */
async function heard(cause: string, end: () => unknown): Promise<number> {
  const before = (await logged('session_ended')).length;
  await end();
  const lines = await until(
    () => logged('session_ended'),
    ({ length }) => length > before,
    90,
  );
  expect(lines.at(-1)!.line).toContain(cause);
  return lines.at(-1)!.at;
}

it('renews the lease by the edge, and reports that', async () => {
  const { lease, session } = await leasedBy('channel');
  expect(lease.since).toBeGreaterThan(0);
  expect((await dataPath.lab.exec('workspace', ['meshpass', 'status'])).stdout).toContain(
    "Lease renewed through an edge's control channel since",
  );
  // Three leases later it is the same session, and its way has not changed.
  await new Promise((resolve) => setTimeout(resolve, 13_000));
  expect(await status()).toMatchObject({ lease: { by: 'channel', since: lease.since }, session: { id: session.id } });
  // A busy machine may have been slow before the first lease.
  expect((await logged('channel_silent')).filter(({ at }) => at > lease.since)).toEqual([]);
  expect(await call()).toBe('200');
});

it('brings a VirtualService as soon as istiod has it', async () => {
  await leasedBy('channel');
  const { version } = (await status()).configuration;
  const began = Date.now();
  const abort: KubeObject = {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'channelled', namespace: 'shop' },
    spec: {
      hosts: ['orders.shop.svc.cluster.local'],
      http: [
        {
          fault: { abort: { httpStatus: 418, percentage: { value: 100 } } },
          route: [{ destination: { host: 'orders.shop.svc.cluster.local', port: { number: 8080 } } }],
        },
      ],
    },
  };
  applied.push(abort);
  await dataPath.lab.kubernetes.apply(abort);
  await isCalled('418');
  console.log(`a VirtualService is in force in the workspace after ${Date.now() - began} ms`);
  const after = await status();
  expect(after.configuration.version).toBeGreaterThan(version!);
  expect(after.lease.by).toBe('channel');
});

describe("the agent learns of the session's end at once", () => {
  it('when an operator closes it; the agent opens another one', async () => {
    const { session } = await leasedBy('channel');
    const { operatorUrl, operatorToken } = dataPath.meshpass;
    const began = Date.now();
    const at = await heard('operator', async () => {
      const headers = { authorization: `Bearer ${operatorToken}`, 'content-type': 'application/json' };
      const body = JSON.stringify({ workspace: session.workspace });
      const closed = await fetch(`${operatorUrl}/admin/sessions/close`, { method: 'POST', headers, body });
      expect(closed.status).toBe(200);
    });
    console.log(`closed by an operator: heard after ${at - began} ms`);
    const again = await until(status, (now) => now.session.id !== session.id, 30);
    expect(again.session.workspace).toBe(session.workspace);
    await leasedBy('channel');
    await isCalled('200');
  });

  it('when the access file grants it nothing any more; it lives again when it does', async () => {
    const { session } = await leasedBy('channel');
    const without = accessFile.replace('team: acme/payments,', 'team: acme/nobody,');
    const began = Date.now();
    const at = await heard('access_removed', () => writeFileSync(dataPath.meshpass.accessFile, without));
    console.log(`its access removed: heard after ${at - began} ms, with the broker's reading of the file`);
    await until(status, ({ broker }) => broker.failures.session !== undefined, 30);
    writeFileSync(dataPath.meshpass.accessFile, accessFile);
    await until(status, (now) => now.session.id !== session.id, 90);
    await leasedBy('channel');
    await isCalled('200');
  });

  it('when it reaches its hard limit', async () => {
    const another = async (limit: string) => {
      await dataPath.lab.exec('workspace', ['meshpass', 'down']);
      writeFileSync(dataPath.meshpass.accessFile, accessFile.replace('session: 8h', `session: ${limit}`));
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await up();
      return (await leasedBy('channel')).session;
    };
    const { id, expiresAt } = await another('20s');
    await until(status, ({ session }) => session.id !== id, 60);
    // Its identity token ends with it, so that a renewal of that may be told a moment before the channel tells.
    const told = [...(await logged('session_ended')), ...(await logged('"code":"session_closed"'))];
    const at = Math.max(...told.map((one) => one.at));
    console.log(`at its limit: heard ${at - expiresAt} ms after it`);
    expect(at).toBeGreaterThanOrEqual(expiresAt - 1_000);
    await another('8h');
    await isCalled('200');
  }, 180_000);
});

it('when the edge is killed the session lives on over HTTPS, and by the channel again when it is back', async () => {
  const { session } = await leasedBy('channel');
  await dataPath.lab.kill('edge');
  const { lease } = await leasedBy('https');
  await new Promise((resolve) => setTimeout(resolve, 14_000));
  expect(await status()).toMatchObject({ session: { id: session.id }, lease: { by: 'https', since: lease.since } });
  await dataPath.lab.restart('edge');
  await leasedBy('channel');
  await isCalled('200');
  expect((await status()).session.id).toBe(session.id);
}, 180_000);

it('when the broker is killed the session outlives it, and its lease goes by the channel again', async () => {
  const { session } = await leasedBy('channel');
  await dataPath.lab.kill('meshpass');
  expect(await call()).toBe('200');
  await dataPath.lab.restart('meshpass');
  await until(status, ({ lease, broker }) => lease.by === 'channel' && Object.keys(broker.failures).length === 0, 90);
  expect((await status()).session.id).toBe(session.id);
  await isCalled('200');
}, 180_000);

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
