/** The broker is killed (SIGKILL): acknowledged writes exist, and agents continue without it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-killed-'));
  // The shortest life a certificate may have, so that one can be seen to end.
  const access = readFileSync(new URL('../../lab/src/access.yaml', import.meta.url), 'utf8');
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, access.replaceAll(/ttl: \d+m/g, 'ttl: 2m'));
  dataPath = await openDataPath({ edgeApart: true, accessFile });
  adversary = dataPath.adversary();
});
afterAll(async () => {
  for (const host of ['workspace', 'workspace-2']) await dataPath?.lab.exec(host, ['meshpass', 'down']);
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

const CURL = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code} %header{x-meshpass-code}'];
const call = async (host: string) =>
  (await dataPath.lab.exec(host, [...CURL, 'http://orders.shop:8080/orders/1'])).stdout.trim();

it('an edge of its own carries traffic for sessions of the broker, and has its decisions audited there', async () => {
  const client = adversary.as('first');
  const session = await enrolled(dataPath, client);
  const order = { target: ORDERS, grant: 'payments-dev', edge: dataPath.meshpass.edge };
  // The edge learns of a session a moment after its developer.
  await until(
    () => client.tunnel(order),
    (report) => report.stage === 'answer',
  );
  expect(await client.tunnel({ ...order, target: 'web.dev.svc.cluster.local:80' })).toMatchObject({
    stage: 'edge',
    edgeStatus: 403,
    edgeCode: 'tunnel_target_not_granted',
  });
  await until(
    () => dataPath.audit({ session }),
    (rows) => rows.some((row) => row.action === 'tunnel' && row.code === 'tunnel_target_not_granted'),
  );
  expect(await client.speak('DELETE', '/session')).toMatchObject({ status: 204 });
  await until(
    () => client.tunnel(order),
    (report) => report.edgeCode === 'tunnel_session_unknown',
  );
});

it('killed in the middle of many exchanges, it has every session and every audit row that it acknowledged', async () => {
  const CLIENTS = 60;
  const spaces = await Promise.all(Array.from({ length: CLIENTS }, () => dataPath.codespace()));
  const acknowledged: { readonly name: string; readonly session: string; readonly decision?: string }[] = [];
  const refused: string[] = [];
  let failed = 0;
  const exchanges = spaces.map(async (space, n) => {
    const client = adversary.as(`crowd ${n}`);
    try {
      const answer = await client.enrol(codespaceProof(space));
      if (answer.status !== 200) throw new Error(answer.text);
      const { session } = answer.json as { session: { id: string } };
      acknowledged.push({ name: `crowd ${n}`, session: session.id });
      const bad = await client.certificate('sre-bulk');
      const { decision_id: decision } = bad.json as { decision_id?: string };
      if (bad.status === 403 && decision) refused.push(decision);
    } catch {
      failed++;
    }
  });
  await until(
    () => acknowledged.length,
    (count) => count >= 10,
  );
  await dataPath.lab.kill('meshpass');
  await Promise.all(exchanges);
  expect(acknowledged.length).toBeGreaterThanOrEqual(10);
  expect(failed).toBeGreaterThan(0);

  await dataPath.lab.restart('meshpass');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const rows = await dataPath.audit();
  const opened = rows.filter((row) => row.action === 'session.open' && row.outcome === 'allowed');
  const openedIds = new Set(opened.map((row) => row.session_id));
  for (const { name, session } of acknowledged) {
    expect(openedIds).toContain(session);
    const client = adversary.as(name);
    expect(await client.renew(), `${name} was acknowledged`).toMatchObject({ kind: 'lease' });
  }
  for (const decision of refused) {
    expect(rows.filter((row) => row.id === decision)).toMatchObject([{ outcome: 'refused', code: 'grant_unknown' }]);
  }
  const [one] = acknowledged;
  const client = adversary.as(one!.name);
  expect(await client.certificate('payments-dev')).toMatchObject({ status: 200 });
  // No principal and no account but of sessions that are in the log.
  expect(await dataPath.accounts()).toHaveLength(1);
}, 120_000);

describe('an agent whose broker is dead', () => {
  it('carries traffic through the edge until its credentials expire, and recovers by itself', async () => {
    const env = await dataPath.environment();
    const up = await dataPath.lab.exec('workspace', ['meshpass', 'up', '--output', 'json'], { env });
    expect(up.code, up.stderr).toBe(0);
    const session = (JSON.parse(up.stdout) as { session: { id: string } }).session.id;
    // The edge has yet to find the broker that was killed before.
    await until(
      () => call('workspace'),
      (answer) => answer === '200',
    );

    const status = async () =>
      JSON.parse(
        (await dataPath.lab.exec('workspace', ['meshpass', 'status', '--output', 'json'])).stdout,
      ) as AgentStatus;
    await dataPath.lab.kill('meshpass');
    const { expiresAt } = (await status()).credentials.svids[0]!;
    const without = await dataPath.lab.exec('workspace-2', ['meshpass', 'up'], { env });
    expect(without).toMatchObject({ code: 3, stdout: '' });
    expect(without.stderr).toContain('[agent_broker_unreachable]');
    let carried = 0;
    const refused = await until(
      async () => {
        const asked = Date.now();
        const answer = await call('workspace');
        if (answer === '200') carried = asked;
        return answer;
      },
      (answer) => answer !== '200',
      240,
    );
    expect(refused).toBe('503 agent_credentials_expired');
    expect(Date.now()).toBeGreaterThanOrEqual(expiresAt);
    expect(carried).toBeLessThan(expiresAt);

    await dataPath.lab.restart('meshpass');
    await until(
      async () => (await fetch(`${dataPath.meshpass.operatorUrl}/readyz`)).status,
      (status) => status === 200,
    );
    // The session is the same one, the agent needs nothing new, and the edge follows the broker again.
    await until(status, ({ broker }) => Object.keys(broker.failures).length === 0, 60);
    expect((await status()).session.id).toBe(session);
    expect(await call('workspace')).toBe('200');
    expect((await dataPath.lab.exec('workspace', ['meshpass', 'token', '--audience', 'sts.amazonaws.com'])).code).toBe(
      0,
    );
    const down = await dataPath.lab.exec('workspace', ['meshpass', 'down']);
    expect(down.stdout).toContain('The session has ended');
    expect(await dataPath.audit({ session })).toContainEqual(
      expect.objectContaining({ action: 'session.close', session_id: session }),
    );
  }, 300_000);
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
