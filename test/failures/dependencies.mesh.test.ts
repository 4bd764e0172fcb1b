/** Outages of Meshpass's dependencies: the reported error, the absence of half-issued credentials, and the recovery. */
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { codespaceProof, type DataPath, enrolled, expectRefused, ORDERS, openDataPath, until } from '../mesh.ts';

let postgres: TestPostgres;
let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  postgres = startPostgres();
  dataPath = await openDataPath({ flags: ['--database-url', postgres.url] });
  adversary = dataPath.adversary();
});
afterAll(async () => {
  await dataPath?.close();
  postgres?.stop();
});

let dead = false;
function storeDies(): void {
  postgres.crash!();
  dead = true;
}
function storeComesBack(): void {
  if (dead) postgres.start!();
  dead = false;
}

const GRANT = 'payments-dev';
const opened = async () =>
  (await dataPath.audit()).filter((row) => row.action === 'session.open' && row.outcome === 'allowed');
const readiness = async () => {
  const answer = await fetch(`${dataPath.meshpass.operatorUrl}/readyz`);
  return { status: answer.status, reasons: ((await answer.json()) as { reasons: string[] }).reasons };
};
const call = (by: AdversarialClient) =>
  by.tunnel({ target: ORDERS, grant: GRANT, edge: dataPath.meshpass.edge, send: 'GET /x HTTP/1.1\r\nhost: x\r\n\r\n' });
const UNAVAILABLE = { status: 503, error: 'temporarily_unavailable' };

describe('while the store is gone', () => {
  let holder: AdversarialClient;
  beforeAll(async () => {
    holder = adversary.as('had a session before');
    await enrolled(dataPath, holder);
  });
  afterEach(() => storeComesBack());

  it('no session opens, no certificate is issued, nothing is left behind; then it recovers without a restart', async () => {
    const before = { opened: (await opened()).length, accounts: await dataPath.accounts() };
    storeDies();
    const refused = await adversary.as('new').enrol(codespaceProof(await dataPath.codespace()));
    expect(refused).toMatchObject({ status: 503, json: { error: UNAVAILABLE.error, error_code: 'store_unavailable' } });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(refused.json).not.toHaveProperty('access_token');
    // A first certificate must be recorded before it is requested.
    expect(await readiness()).toMatchObject({ status: 503, reasons: ['the store is not responding'] });
    expect(await dataPath.accounts()).toEqual(before.accounts);
    const token = await holder.token();
    expect(token).toMatchObject({ status: 503, json: { error_code: 'store_unavailable' } });
    // Earlier grants stay valid: the edge decides from memory.
    expect(await call(holder)).toMatchObject({ stage: 'answer' });
    expect(await holder.renew()).toMatchObject({ kind: 'lease' });

    storeComesBack();
    await until(readiness, ({ status }) => status === 200);
    expect((await opened()).length).toBe(before.opened);
    const now = adversary.as('later');
    await enrolled(dataPath, now);
    expect(await call(now)).toMatchObject({ stage: 'answer' });
    expect(await holder.token()).toMatchObject({ status: 200 });
  });

  it('a session ends at once, and its end is stored when the store returns', async () => {
    const ending = adversary.as('ending');
    const id = await enrolled(dataPath, ending);
    storeDies();
    // The answer may wait for the store; the end does not.
    const goodbye = ending.speak('DELETE', '/session').catch(() => undefined);
    await until(
      () => call(ending),
      (report) => report.edgeCode === 'tunnel_session_unknown',
    );
    storeComesBack();
    await goodbye;
    await until(
      () => dataPath.audit({ session: id }),
      (rows) => rows.some((row) => row.action === 'session.close'),
    );
  });
});

describe('while istiod is gone', () => {
  it('sessions open and certificates wait: 503, and an account that goes with its session', async () => {
    const before = await dataPath.accounts();
    await dataPath.lab.kill('istiod');
    try {
      const client = adversary.as('without istiod');
      expect(await client.enrol(codespaceProof(await dataPath.codespace()))).toMatchObject({ status: 200 });
      const answer = await client.certificate(GRANT);
      await expectRefused(dataPath, answer, { ...UNAVAILABLE, code: 'ca_unavailable', action: 'certificate.issue' });
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      expect((await client.show()).svids).toEqual({});
      await client.speak('DELETE', '/session');
      await until(
        () => dataPath.accounts(),
        (accounts) => accounts.every((one) => before.includes(one)),
      );
    } finally {
      await dataPath.lab.restart('istiod');
    }
    const after = adversary.as('istiod is back');
    await enrolled(dataPath, after);
    expect(await call(after)).toMatchObject({ stage: 'answer' });
  });
});

describe('while the Kubernetes API is gone', () => {
  it('no certificate is issued; a session that ends is denied and its account deleted when the API is back', async () => {
    const ending = adversary.as('ending without Kubernetes');
    await enrolled(dataPath, ending);
    const { spiffeId } = (await ending.show()).svids[GRANT]!;
    const account = spiffeId.replace(/^.*\/ns\/(.*)\/sa\//, '$1/');
    expect(await dataPath.accounts()).toContain(account);
    await dataPath.lab.kill('kube-apiserver');
    try {
      const client = adversary.as('without Kubernetes');
      expect(await client.enrol(codespaceProof(await dataPath.codespace()))).toMatchObject({ status: 200 });
      const answer = await client.certificate(GRANT);
      const code = (answer.json as { error_code: string }).error_code;
      expect(['kubernetes_unavailable', 'ca_unavailable']).toContain(code);
      await expectRefused(dataPath, answer, { ...UNAVAILABLE, code, action: 'certificate.issue' });
      expect((await client.show()).svids).toEqual({});
      expect(await ending.speak('DELETE', '/session')).toMatchObject({ status: 204 });
      expect(await call(ending)).toMatchObject({ stage: 'edge', edgeCode: 'tunnel_session_unknown' });
    } finally {
      await dataPath.lab.restart('kube-apiserver');
      // A cluster's supervisor restarts it; without it no namespace is ever deleted.
      await dataPath.lab.restart('kube-controller-manager');
    }
    const denied = async () => JSON.stringify(await dataPath.lab.kubernetes.call('GET', DENY).catch(() => undefined));
    await until(denied, (text) => text?.includes(spiffeId.replace('spiffe://', '')) ?? false, 60);
    await until(
      () => dataPath.accounts(),
      (accounts) => !accounts.includes(account),
      60,
    );
    const after = adversary.as('Kubernetes is back');
    await until(
      async () => {
        const answer = await after.enrol(codespaceProof(await dataPath.codespace()));
        return answer.status === 200 ? (await after.certificate(GRANT)).status : answer.status;
      },
      (status) => status === 200,
      60,
    );
    expect(await call(after)).toMatchObject({ stage: 'answer' });
  });
});

describe('while GitHub is gone', () => {
  it('`meshpass up` explains what to do, and works when GitHub is back', async () => {
    const env = await dataPath.environment();
    await dataPath.github.setFault({ mode: 'down' });
    const refused = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
    expect(refused).toMatchObject({ code: 3, stdout: '' });
    expect(refused.stderr).toContain('[issuer_unavailable]');
    await dataPath.github.setFault({ mode: 'none' });
    const { code } = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
    expect(code).toBe(0);
    await dataPath.lab.exec('workspace', ['meshpass', 'down']);
  });
});

it('at the end every session that was opened is in the audit log, and every account belongs to a live one', async () => {
  const rows = await dataPath.audit();
  const ended = new Set(rows.filter((row) => row.action === 'session.close').map((row) => row.session_id));
  const live = (await opened()).filter((row) => !ended.has(row.session_id));
  await until(
    () => dataPath.accounts(),
    (accounts) => accounts.length <= live.length,
  );
  await dataPath.expectNoSecretKept();
});

const DENY = '/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies/meshpass-revoked';
