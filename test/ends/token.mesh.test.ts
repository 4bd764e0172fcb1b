/**
 * An identity token is good for any certificate of its grant: but not once its session has ended, although it has minutes left.
 * Shown on the real sidecar, together with the absence of effects on other sessions, HTTP or TCP.
 */
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, enrolled, LEDGER, ORDERS, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
/** Two Codespaces of one developer, with the same grant. */
let first: AdversarialClient;
let second: AdversarialClient;
let session: string;
let token: string;

beforeAll(async () => {
  dataPath = await openDataPath();
  first = dataPath.adversary();
  second = first.as('second');
  session = await enrolled(dataPath, first);
  await enrolled(dataPath, second);
  token = (await first.show()).identityToken!;
  await until(
    () => call(second, token),
    (status) => status === 200,
  );
});
afterAll(() => dataPath?.close());

const GRANT = 'payments-dev';
/** Calls with the certificate of one session and any token, through the whole data path. */
async function call(by: AdversarialClient, token: string): Promise<number | string> {
  const report = await by.tunnel({
    target: ORDERS,
    grant: GRANT,
    edge: dataPath.meshpass.edge,
    send: `GET /orders/1 HTTP/1.1\r\nhost: orders.shop:8080\r\nx-meshpass-token: ${token}\r\n\r\n`,
  });
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1]) || `${report.stage} ${report.edgeCode}`;
}
const own = async () => call(second, (await second.show()).identityToken!);
/** PostgreSQL's request for TLS; any answer shows that it got through. */
const database = () =>
  second.tunnel({
    target: LEDGER,
    grant: GRANT,
    edge: dataPath.meshpass.edge,
    alpn: ['istio'],
    send: '\0\0\0\b\u0004\u00d2\u0016/',
  });
async function policy() {
  const path = '/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies';
  const { items } = (await dataPath.lab.kubernetes.call('GET', path)) as {
    items: { metadata: { name: string }; spec: unknown }[];
  };
  return items.find(({ metadata }) => metadata.name === 'meshpass-ended-sessions')?.spec;
}

describe('the token of an ended session', () => {
  it('is refused on the certificate of another session of the same grant, which keeps its own', async () => {
    expect(await policy()).toBeUndefined();
    expect(await own()).toBe(200);
    expect(await first.speak('DELETE', '/session')).toMatchObject({ status: 204 });
    await until(
      () => call(second, token),
      (status) => status === 403,
    );
    expect(await own()).toBe(200);
    expect(await policy()).toMatchObject({
      action: 'DENY',
      rules: [{ when: expect.arrayContaining([{ key: 'request.auth.claims[sid]', values: [session] }]) }],
    });
  });

  it('is refused without harm to TCP, or to earlier objects of the mesh', async () => {
    expect(await database()).toMatchObject({ stage: 'answer' });
    const argv = ['curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', 'http://orders.shop:8080/orders/1'];
    expect((await dataPath.lab.exec('client', argv)).stdout).toBe('200');
  });

  it('stays refused by a broker that was killed', async () => {
    const before = await policy();
    await dataPath.lab.kill('meshpass');
    await dataPath.lab.restart('meshpass');
    await until(own, (status) => status === 200);
    expect(await call(second, token)).toBe(403);
    // The store rewrites the policy from its records, now or soon.
    await until(policy, (now) => JSON.stringify(now) === JSON.stringify(before));
  }, 120_000);
});
