/** The key that signs tokens is changed while developers work: on a real mesh, under steady traffic, with no failed request. */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import type { Trust } from '@meshpass/cli/commands/rotate';
import { ServicesResponse } from '@meshpass/identity/wire';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';
import { type SteadyTraffic, startTraffic } from '../traffic/steady-traffic.ts';

let postgres: TestPostgres;
let dataPath: DataPath;
let adversary: AdversarialClient;
let traffic: SteadyTraffic;
/** Session whose tokens the test checks. */
let session: string;
/** Operator listener of the active broker. */
let operatorUrl: string;

/** Seconds; the shortest life that tokens may have, so that a retired key goes within the test. */
const TOKEN_LIFE = 60;
const HEARTBEAT = 3;
const KEYS = '/api/v1/namespaces/meshpass-system/secrets/meshpass-keys';

// As the chart has it: two brokers, an edge by itself, and the keys in a Secret.
beforeAll(async () => {
  postgres = startPostgres();
  dataPath = await openDataPath({
    edgeApart: true,
    standby: true,
    flags: [
      ...['--database-url', postgres.url, '--signing-key-wait', '5', '--token-life', String(TOKEN_LIFE)],
      ...['--heartbeat', String(HEARTBEAT), '--lease', '45'],
    ],
  });
  operatorUrl = dataPath.meshpass.operatorUrl;
  adversary = dataPath.adversary('workspace-2');
  session = await enrolled(dataPath, adversary);
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env: await dataPath.environment() });
  expect(up.code, up.stderr).toBe(0);
  traffic = await startTraffic(dataPath.lab, 'workspace');
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
  postgres?.stop();
});

async function meshpass(...argv: string[]) {
  const flags = ['--operator', operatorUrl];
  const env = { MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken };
  return await dataPath.lab.exec('meshpass', ['meshpass', 'rotate', ...flags, ...argv], { env });
}
async function trust(): Promise<Trust> {
  const { stdout, stderr } = await meshpass('--status', '--output', 'json');
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Trust;
}
const kidOf = (keys: Trust['signing_keys'], part: 'signing' | 'next') => keys.find((key) => key.part === part)!.kid;
const signing = async () => kidOf((await trust()).signing_keys, 'signing');
/** Rotates like the command, without its start-up time. */
async function admin<T>(method: 'GET' | 'POST', path: string): Promise<T> {
  const answer = await fetch(`${operatorUrl}/admin/trust${path}`, {
    method,
    headers: { authorization: `Bearer ${dataPath.meshpass.operatorToken}`, 'content-type': 'application/json' },
    ...(method === 'POST' && { body: JSON.stringify({ reason: 'a test' }) }),
  });
  expect(answer.status).toBe(200);
  return (await answer.json()) as T;
}
const rotate = async () => (await admin<{ kid: string }>('POST', '/rotate')).kid;
const signingNow = async () => kidOf((await admin<Trust>('GET', '')).signing_keys, 'signing');
const ready = async (url: string) => (await fetch(`${url}/readyz`).catch(() => undefined))?.status;
/** Keys in the hands of a thief of the Secret. */
async function stolenText(): Promise<string> {
  const { data } = (await dataPath.lab.kubernetes.call('GET', KEYS)) as { data: Record<string, string> };
  return Buffer.from(data['signing-key.pem']!, 'base64').toString();
}
const stolenKey = async () => createPrivateKey(await stolenText());

/** A token of the adversarial client's own session, with an hour to live, signed by a key that was the broker's. */
async function forged(key: KeyObject, kid: string): Promise<string> {
  const [, claims] = (await adversary.show()).identityToken!.split('.');
  const now = Math.floor(Date.now() / 1000);
  const payload = { ...JSON.parse(Buffer.from(claims!, 'base64url').toString()), iat: now, nbf: now, exp: now + 3600 };
  const encode = (json: unknown) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const input = `${encode({ alg: 'RS256', typ: 'JWT', kid })}.${encode(payload)}`;
  return dataPath.secret(`${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`);
}
/** Answer of orders' sidecar to a token, through the whole data path. */
async function answerTo(token: string): Promise<number | string> {
  // The certificate may be near its end by now.
  if ((await adversary.certificate('payments-dev')).status !== 200)
    throw new Error('the adversarial client has lost its session');
  const report = await adversary.tunnel({
    target: ORDERS,
    grant: 'payments-dev',
    edge: dataPath.meshpass.edge,
    send: `GET /orders/1 HTTP/1.1\r\nhost: orders.shop:8080\r\nx-meshpass-token: ${token}\r\n\r\n`,
  });
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : `${report.stage} ${report.edgeCode ?? ''} ${report.error ?? ''}`;
}
/** Renews the adversarial client's lease with the keys that verify statements now, as an agent does after a rotation. */
async function keepAlive(): Promise<void> {
  const { status, json } = await adversary.speak('GET', '/services');
  expect(status).toBe(200);
  const { mesh } = ServicesResponse.parse(json);
  await adversary.take({ session: { id: session, statementKeys: mesh.statement_keys } });
  expect(await adversary.renew()).toMatchObject({ kind: 'lease' });
}

describe('the key that signs tokens', () => {
  it('is changed again and again without a failed request, and tokens of retired keys are refused afterwards', async () => {
    const retired: { readonly kid: string; readonly token: string }[] = [];
    for (let round = 0; round < 3; round++) {
      const kid = await signing();
      const token = await forged(await stolenKey(), kid);
      expect(await answerTo(token)).toBe(200);
      const done = await meshpass('--wait', '--reason', `round ${round}`, '--output', 'json');
      expect(done).toMatchObject({ code: 0, stderr: '' });
      const { kid: next } = JSON.parse(done.stdout) as { kid: string };
      expect(next).not.toBe(kid);
      expect(await signing()).toBe(next);
      await traffic.goesOn();
      retired.push({ kid, token });
      // Tokens that were given a moment ago live on.
      expect(await answerTo(token)).toBe(200);
      await keepAlive();
    }
    const { stdout } = await meshpass('--status');
    expect(stdout.match(/ retired /g)).toHaveLength(3);
    const whole = Date.now() + (TOKEN_LIFE + 60 + 30) * 1000;
    await until(
      async () => {
        await keepAlive();
        expect(traffic.seen().failures).toEqual([]);
        return (await admin<Trust>('GET', '')).signing_keys;
      },
      (keys) => !keys.some(({ part }) => part === 'retired'),
      (whole - Date.now()) / 1000,
    );
    for (const { token } of retired) {
      await until(
        () => answerTo(token),
        (status) => status === 401,
      );
    }
    await traffic.goesOn();
    const rows = (await dataPath.audit()).filter(({ action }) => action.endsWith('.rotate'));
    expect(rows.filter(({ action }) => action === 'operator.rotate')).toHaveLength(3);
    // Each of the three was taken into use and each of the retired ones was dropped.
    for (const { kid } of retired) expect(rows.filter(({ target }) => target === kid).length).toBeGreaterThan(0);
    expect(rows.filter(({ action }) => action === 'key.rotate')).toHaveLength(6);
  }, 400_000);

  it('is changed at once when it was stolen: no request fails, and tokens of the thief are refused within seconds', async () => {
    const keys = (await trust()).signing_keys;
    const [kid, ahead] = [kidOf(keys, 'signing'), kidOf(keys, 'next')];
    const text = await stolenText();
    // The key that comes is in no copy of the Secret.
    expect(text.match(/PRIVATE KEY-----\n/g)).toHaveLength(2);
    const token = await forged(createPrivateKey(text), kid);
    await until(
      () => answerTo(token),
      (status) => status === 200,
    );
    expect(await meshpass('--revoke-now')).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(await signing()).toBe(kid);
    const began = performance.now();
    const { code, stdout } = await meshpass('--revoke-now', '--yes', '--reason', 'stolen');
    expect(code).toBe(0);
    expect(stdout).toContain(`Key ${ahead} now signs tokens. Dropped: ${kid}`);
    await until(
      () => answerTo(token),
      (status) => status === 401,
    );
    console.log(`a token of the stolen key was refused ${Math.round(performance.now() - began)} ms after the command`);
    await traffic.goesOn();
    expect(traffic.seen().failures).toEqual([]);
    expect((await trust()).signing_keys.map(({ part }) => part)).toEqual(['signing', 'next']);
  }, 120_000);

  it('is changed although the broker was killed in the middle: the other one continues, and no request fails', async () => {
    const { operatorUrl: first, standbyOperatorUrl: second } = dataPath.meshpass;
    const before = await signing();
    await rotate();
    const old = await until(signingNow, (found) => found !== before, 60);
    // The mesh has not had the next key for long enough. Commands would take longer than that on a busy machine.
    const kid = await rotate();
    const signedAtKill = await signingNow();
    await dataPath.lab.kill('meshpass');
    expect(signedAtKill).toBe(old);
    await until(
      () => ready(second),
      (status) => status === 200,
      60,
    );
    operatorUrl = second;
    await until(signingNow, (found) => found !== old, 60);
    // The one that was killed took the key with it that it had in mind.
    expect(await signing()).not.toBe(kid);
    expect((await trust()).signing_keys).toContainEqual(expect.objectContaining({ kid: old, part: 'retired' }));
    await traffic.goesOn();
    expect(traffic.seen().failures).toEqual([]);
    const signs = await signing();
    await dataPath.lab.restart('meshpass');
    expect(await ready(first)).toBe(503);
    await dataPath.lab.kill('meshpass-2');
    await until(
      () => ready(first),
      (status) => status === 200,
      60,
    );
    operatorUrl = first;
    expect(await signing()).toBe(signs);
  }, 240_000);

  it('is never in the audit log or the log of the broker, nor is any token', async () => {
    // Retired keys are there as public keys, which the audit log may have.
    const keys = (await stolenText()).match(/-----BEGIN PRIVATE KEY-----[\s\S]*?-----END/g) ?? [];
    expect(keys).toHaveLength(1);
    for (const line of keys[0]!.split('\n')) if (/^[A-Za-z0-9+/=]{60,}$/.test(line)) dataPath.secret(line);
    for (const member of ['d', 'p', 'q'] as const)
      dataPath.secret((await stolenKey()).export({ format: 'jwk' })[member]!);
    await dataPath.expectNoSecretKept();
    expect(session).not.toBe('');
  });
});
