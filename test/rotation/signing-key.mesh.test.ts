/** The key that signs tokens is changed while developers work: on a real mesh, under steady traffic, with no failed request. */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Trust } from '@meshpass/cli/operator/trust-text';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';
import { type SteadyTraffic, startTraffic } from '../traffic/steady-traffic.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;
let traffic: SteadyTraffic;
/** Session whose tokens are looked at. */
let session: string;

/** Seconds; the shortest life that tokens may have, so that a retired key goes within the test. */
const TOKEN_LIFE = 60;
const HEARTBEAT = 3;

beforeAll(async () => {
  dataPath = await openDataPath({
    flags: [
      ...['--signing-key-wait', '5', '--token-life', String(TOKEN_LIFE)],
      ...['--heartbeat', String(HEARTBEAT), '--lease', '45'],
    ],
  });
  adversary = dataPath.adversary('workspace-2');
  session = await enrolled(dataPath, adversary);
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env: await dataPath.environment() });
  expect(up.code, up.stderr).toBe(0);
  traffic = await startTraffic(dataPath.lab, 'workspace');
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
});

async function meshpass(...argv: string[]) {
  const flags = ['--operator', dataPath.meshpass.operatorUrl];
  const env = { MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken };
  return await dataPath.lab.exec('meshpass', ['meshpass', 'rotate', ...flags, ...argv], { env });
}
async function trust(): Promise<Trust> {
  const { stdout, stderr } = await meshpass('--status', '--output', 'json');
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Trust;
}
const signing = async () => (await trust()).signing_keys.find(({ part }) => part === 'signing')!.kid;
/** The private key that signs now: only a test that owns the broker's disk can have it. */
const keyOnDisk = () => createPrivateKey(readFileSync(join(dataPath.meshpass.dataDir, 'signing-key.pem'), 'utf8'));

/** A token of the adversarial client's own session, with an hour to live, signed by a key that was the broker's. */
async function forged(key: KeyObject, kid: string): Promise<string> {
  const [, claims] = (await adversary.show()).identityToken!.split('.');
  const now = Math.floor(Date.now() / 1000);
  const payload = { ...JSON.parse(Buffer.from(claims!, 'base64url').toString()), iat: now, nbf: now, exp: now + 3600 };
  const encode = (json: unknown) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const input = `${encode({ alg: 'RS256', typ: 'JWT', kid })}.${encode(payload)}`;
  return dataPath.secret(`${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`);
}
/** What the sidecar of orders answers to a token, through the whole data path. */
async function answerTo(token: string): Promise<number | string> {
  // The certificate may be near its end by now.
  if ((await adversary.certificate('payments-dev')).status !== 200)
    throw new Error('the adversarial client has lost its session');
  const report = await adversary.tunnel({
    ...{ target: ORDERS, grant: 'payments-dev', edge: dataPath.meshpass.edge },
    send: `GET /orders/1 HTTP/1.1\r\nhost: orders.shop:8080\r\nx-meshpass-token: ${token}\r\n\r\n`,
  });
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : `${report.stage} ${report.edgeCode ?? ''} ${report.error ?? ''}`;
}
const keepAlive = () => adversary.speak('POST', '/session/heartbeat');

describe('the key that signs tokens', () => {
  it('is changed again and again while nobody’s request fails, and tokens of retired keys are refused afterwards', async () => {
    const retired: { readonly kid: string; readonly token: string }[] = [];
    for (let round = 0; round < 3; round++) {
      const kid = await signing();
      const token = await forged(keyOnDisk(), kid);
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
      expect(await keepAlive()).toMatchObject({ status: 200 });
    }
    const { stdout } = await meshpass('--status');
    expect(stdout.match(/signs no more, and goes/g)).toHaveLength(3);
    const whole = Date.now() + (TOKEN_LIFE + 60 + 30) * 1000;
    await until(
      async () => {
        expect(await keepAlive()).toMatchObject({ status: 200 });
        expect(traffic.seen().failures).toEqual([]);
        return (await trust()).signing_keys;
      },
      (keys) => keys.length === 1,
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

  it('goes on after the broker was killed in the middle of a change, and still no request fails', async () => {
    const old = await signing();
    const asked = await meshpass('--reason', 'a test', '--output', 'json');
    expect(asked).toMatchObject({ code: 0, stderr: '' });
    const { kid } = JSON.parse(asked.stdout) as { kid: string };
    await dataPath.lab.kill('meshpass');
    // The edge dies with it, and what it carried; that is another test's business.
    await traffic.end();
    await dataPath.lab.restart('meshpass');
    expect((await trust()).signing_keys.map(({ kid, part }) => [kid, part])).toEqual(
      expect.arrayContaining([[kid, expect.stringMatching(/next|signing/)]]),
    );
    await until(signing, (found) => found === kid, 60);
    expect((await trust()).signing_keys).toContainEqual(expect.objectContaining({ kid: old, part: 'retired' }));
    await until(
      async () => (await dataPath.lab.exec('workspace', CURL)).stdout,
      (status) => status === '200',
      60,
    );
    traffic = await startTraffic(dataPath.lab, 'workspace');
  }, 240_000);

  it('is dropped at once when an operator says so: its tokens are worthless within seconds, agents recover by themselves', async () => {
    const kid = await signing();
    const token = await forged(keyOnDisk(), kid);
    await until(
      () => answerTo(token),
      (status) => status === 200,
    );
    expect(await meshpass('--revoke-now')).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(await signing()).toBe(kid);
    await traffic.end();
    const { code, stdout } = await meshpass('--revoke-now', '--yes', '--reason', 'stolen');
    expect(code).toBe(0);
    expect(stdout).toContain(`Dropped: ${kid}`);
    await until(
      () => answerTo(token),
      (status) => status === 401,
    );
    // With the next heartbeat, where half of a token's life would be longer. A connection that Envoy is draining knows the
    // old key only, and may refuse the new token once more.
    const oneAfterTheOther = async () => {
      for (let times = 0; times < 5; times++)
        if ((await dataPath.lab.exec('workspace', CURL)).stdout !== '200') return false;
      return true;
    };
    await until(oneAfterTheOther, (all) => all, HEARTBEAT + 45);
  }, 120_000);

  it('is never in the audit log or the log of the broker, nor is any token', async () => {
    for (const line of readFileSync(join(dataPath.meshpass.dataDir, 'signing-key.pem'), 'utf8').split('\n'))
      if (/^[A-Za-z0-9+/=]{60,}$/.test(line)) dataPath.secret(line);
    await dataPath.expectNoSecretKept();
    expect(session).not.toBe('');
  });
});

const CURL = ['curl', '-sS', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', 'http://orders.shop:8080/orders/1'];
