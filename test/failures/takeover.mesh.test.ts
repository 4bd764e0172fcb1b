/** Two brokers on one PostgreSQL: the active one dies under traffic, and the other takes over. */
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { type DataPath, enrolled, LEDGER, ORDERS, openDataPath, until } from '../mesh.ts';

let postgres: TestPostgres;
let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  postgres = startPostgres();
  dataPath = await openDataPath({ flags: ['--database-url', postgres.url], edgeApart: true, standby: true });
  adversary = dataPath.adversary();
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
  postgres?.stop();
});

const GRANT = 'payments-dev';
const CURL = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', 'http://orders.shop:8080/orders/1'];
const DENY = '/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies/meshpass-revoked';

const NOT_KEPT = /\/meshpass-(?:revoked|ended-sessions)$|\/requestauthentications .*\/meshpass$/;

const readiness = async (operatorUrl: string) => {
  const answer = await fetch(`${operatorUrl}/readyz`).catch(() => undefined);
  return { status: answer?.status ?? 0, reasons: ((await answer?.json()) as { reasons: string[] })?.reasons ?? [] };
};
const verify = async (operatorUrl: string) => {
  const env = { MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken };
  return await dataPath.lab.exec('meshpass', ['meshpass', 'audit', 'verify', '--operator', operatorUrl], { env });
};
const status = async () =>
  JSON.parse((await dataPath.lab.exec('workspace', ['meshpass', 'status', '--output', 'json'])).stdout) as {
    session: { id: string };
    broker: { failures: Record<string, string> };
  };

/** Kills one broker, and waits for the other while an agent's traffic continues. @returns ms until it was ready */
async function takeover(from: string, readyUrl: string): Promise<number> {
  const answers: string[] = [];
  let over = false;
  const traffic = async () => {
    while (!over) answers.push((await dataPath.lab.exec('workspace', CURL)).stdout);
  };
  const going = traffic();
  await until(
    () => answers.length,
    (count) => count > 0,
  );
  const killedAt = performance.now();
  await dataPath.lab.kill(from);
  await until(
    () => readiness(readyUrl),
    ({ status: code }) => code === 200,
    60,
  );
  const took = performance.now() - killedAt;
  const seen = answers.length;
  await until(
    () => answers.length,
    (count) => count > seen + 2,
  );
  over = true;
  await going;
  expect(new Set(answers)).toEqual(new Set(['200']));
  return took;
}

it('one is killed under traffic: nothing breaks, what ended stays ended, and it can go back', async () => {
  const { operatorUrl, standbyOperatorUrl, edge } = dataPath.meshpass;
  await until(
    () => readiness(standbyOperatorUrl),
    ({ status: code, reasons }) => code === 503 && reasons.some((reason) => reason.startsWith('standing by')),
  );
  const env = await dataPath.environment();
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up', '--output', 'json'], { env });
  expect(up.code, up.stderr).toBe(0);
  const session = (JSON.parse(up.stdout) as { session: { id: string } }).session.id;

  const holder = adversary.as('holds a connection');
  await enrolled(dataPath, holder);
  const ending = adversary.as('ends before');
  await enrolled(dataPath, ending);
  const order = { grant: GRANT, edge, target: ORDERS, send: 'GET /orders/1 HTTP/1.1\r\nhost: orders.shop\r\n\r\n' };
  for (const one of [holder, ending])
    await until(
      () => one.hold(order),
      (report) => report.stage === 'answer',
    );
  let cut = 0;
  holder.cut().then(
    (at) => {
      cut = at;
    },
    // It ends with this test.
    () => {},
  );
  const { spiffeId } = (await ending.show()).svids[GRANT]!;
  const objects = await dataPath.objects();

  const isCut = ending.cut();
  expect(await ending.speak('DELETE', '/session')).toMatchObject({ status: 204 });
  console.log(`ready ${Math.round(await takeover('meshpass', standbyOperatorUrl))} ms after kill -9`);
  await isCut;
  expect(cut).toBe(0);
  expect(await ending.tunnel(order)).toMatchObject({ stage: 'edge', edgeCode: 'tunnel_session_unknown' });
  const denied = async () => JSON.stringify(await dataPath.lab.kubernetes.call('GET', DENY).catch(() => undefined));
  await until(denied, (text) => text?.includes(spiffeId.replace('spiffe://', '')) ?? false);
  // The other broker applied the same objects, except for denied principals and its own next signing key.
  const kept = (all: Record<string, string>) =>
    Object.fromEntries(Object.entries(all).filter(([path]) => !NOT_KEPT.test(path)));
  expect(kept(await dataPath.objects())).toEqual(kept(objects));

  // The same session continues, new ones open, and the edge lets them in.
  await until(status, ({ broker }) => Object.keys(broker.failures).length === 0, 60);
  expect((await status()).session.id).toBe(session);
  // A broker accepts no proof of the second in which it started.
  await until(
    () => dataPath.lab.exec('workspace', ['meshpass', 'token', '--audience', 'sts.amazonaws.com']),
    ({ code }) => code === 0,
  );
  await until(
    () => ending.renew(),
    (renewal) => renewal.kind === 'refused' && renewal.code === 'session_unknown',
  );
  const later = adversary.as('comes later');
  await enrolled(dataPath, later);
  await until(
    () => later.tunnel({ ...order, target: LEDGER }),
    (report) => report.stage !== 'edge',
  );

  await dataPath.lab.restart('meshpass');
  await until(
    () => readiness(operatorUrl),
    ({ reasons }) => reasons.some((reason) => reason.startsWith('standing by')),
  );
  console.log(`back ${Math.round(await takeover('meshpass-2', operatorUrl))} ms after kill -9`);
  expect((await status()).session.id).toBe(session);
  expect(cut).toBe(0);
  await until(
    () => verify(operatorUrl),
    ({ code }) => code === 0,
  );
  const starts = (await dataPath.audit()).filter((row) => row.action === 'broker.start');
  const epochs = starts.map(({ detail }) => (JSON.parse(detail!) as { epoch: number }).epoch);
  expect(epochs).toHaveLength(3);
  expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
  await dataPath.expectNoSecretKept();
}, 300_000);
