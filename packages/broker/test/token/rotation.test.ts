/** The signing key is changed in a whole broker: by an operator, by age, at once; through restarts; and never unaudited. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HeartbeatResponse } from '@meshpass/identity';
import { decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openSigner } from '../../src/token/signer.ts';
import {
  type Answer,
  asSession,
  type Enrolled,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  OPERATOR_TOKEN,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const OPERATOR = { authorization: `Bearer ${OPERATOR_TOKEN}` };
const WAIT = 30;

let harness: Harness;
/** Rows of the audit log up to here are of earlier tests. */
let before = 0;

beforeAll(async () => {
  harness = await startHarness({ config: { signingKeyWaitSeconds: WAIT } });
  harness.mesh.setAccess([grant('dev')]);
});
beforeEach(async () => {
  // One key that signs, and nothing else.
  expect((await rotate({ revoke: true })).status).toBe(200);
  await meshHears();
  before = (await audit()).at(-1)!.seq;
});
afterAll(() => harness.stop());

const keyFile = () => readFileSync(join(harness.dir, 'data', 'signing-key.pem'), 'utf8');
const published = async (): Promise<string[]> =>
  ((await harness.call({ path: '/jwks' })).json as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
/** What the reconciler and istiod would do. */
async function meshHears(): Promise<void> {
  harness.mesh.keys = new Set(await published());
}
const rotate = (body: object = {}, headers: Record<string, string> = OPERATOR): Promise<Answer> =>
  harness.operatorCall({
    ...{ method: 'POST', path: '/admin/trust/rotate', headers: { 'content-type': 'application/json', ...headers } },
    body: JSON.stringify({ reason: 'a test', ...body }),
  });
const keys = async () => {
  const answer = await harness.operatorCall({ path: '/admin/trust', headers: OPERATOR });
  expect(answer.status, answer.text).toBe(200);
  return answer.json.signing_keys as { kid: string; part: string; in_mesh: boolean }[];
};
const parts = async () => (await keys()).map(({ kid, part }) => `${part} ${kid}`);
const eventually = (look: () => Promise<void>) => vi.waitFor(look, { timeout: 60_000, interval: 100 });
async function identityToken(who: Enrolled): Promise<string> {
  const answer = await asSession(harness, who, {
    ...{ method: 'POST', path: '/token', headers: FORM },
    body: form({
      ...{ grant_type: EXCHANGE, subject_token: who.access_token, requested_token_type: JWT },
      subject_token_type: 'urn:meshpass:token-type:session',
    }),
  });
  expect(answer.status, answer.text).toBe(200);
  return answer.json.access_token as string;
}
const signedBy = async (who: Enrolled) => decodeProtectedHeader(await identityToken(who)).kid;
interface Row {
  readonly seq: number;
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly target: string | null;
  readonly detail: string | null;
}
async function audit(after = 0): Promise<readonly Row[]> {
  const found: Row[] = [];
  for (;;) {
    const url = `http://127.0.0.1:${harness.broker.operatorPort}/audit?after=${found.at(-1)?.seq ?? after}&limit=1000`;
    const { rows } = (await (await fetch(url, { headers: OPERATOR })).json()) as { rows: (Row & { seq: string })[] };
    if (rows.length === 0) return found;
    found.push(...rows.map((row) => ({ ...row, seq: Number(row.seq) })));
  }
}
const rows = async () => (await audit(before)).filter((row) => row.action.endsWith('.rotate'));

describe('a change that an operator asks for', () => {
  it('publishes first, signs when the mesh has had the key, and drops the old key after its last token', async () => {
    const [old] = await published();
    const { status, json } = await rotate({ reason: 'spring cleaning' });
    expect(status).toBe(200);
    expect(json).toMatchObject({ made: true });
    const { kid } = json as { kid: string };
    expect(await published()).toEqual([old, kid]);
    expect(await parts()).toEqual([`signing ${old}`, `next ${kid}`]);
    expect(harness.mesh.keyChanges).toBeGreaterThan(0);

    // The mesh has not taken it: it does not sign, however long that takes.
    harness.clockAhead += 10 * WAIT * 1000;
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await signedBy(await session(harness, 'alice'))).toBe(old);
    await meshHears();
    await eventually(async () => expect(keyFile()).toContain('publishedAt'));
    expect(await signedBy(await session(harness, 'bob'))).toBe(old);
    harness.clockAhead += WAIT * 1000;
    await eventually(async () => expect(await parts()).toEqual([`signing ${kid}`, `retired ${old}`]));
    expect(await signedBy(await session(harness, 'carol'))).toBe(kid);

    // The last token of the old key lives five minutes; verifiers allow one more.
    harness.clockAhead += 300_000;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await published()).toEqual([kid, old]);
    harness.clockAhead += 61_000;
    await eventually(async () => expect(await published()).toEqual([kid]));
    expect(keyFile()).not.toContain('PUBLIC KEY');

    const written = await rows();
    expect(written.map(({ action, outcome, target }) => [action, outcome, target])).toEqual([
      ['operator.rotate', 'allowed', kid],
      ['key.rotate', 'allowed', kid],
      ['key.rotate', 'allowed', old],
    ]);
    // Evidence that the old key signed is verified by what the log keeps of it.
    expect(JSON.parse(written[2]!.detail!)).toMatchObject({ jwk: { kty: 'RSA', kid: old } });
    expect(JSON.parse(written[0]!.detail!)).toMatchObject({ because: 'spring cleaning' });
    expect(JSON.stringify(written) + harness.log.join('')).not.toMatch(/PRIVATE|"d":/);
  });

  it('is one change, however often it is asked for', async () => {
    const answers = await Promise.all([rotate(), rotate(), rotate()]);
    expect(new Set(answers.map(({ json }) => json.kid)).size).toBe(1);
    expect(answers.filter(({ json }) => json.made)).toHaveLength(1);
    expect(await published()).toHaveLength(2);
  });

  it('goes on where it was after every restart, also of a broker that was cut off while it wrote', async () => {
    const [old] = await published();
    const { kid } = (await rotate()).json as { kid: string };
    await harness.restart();
    expect(await parts()).toEqual([`signing ${old}`, `next ${kid}`]);
    await meshHears();
    await eventually(async () => expect(keyFile()).toContain('publishedAt'));
    await harness.restart();
    execFileSync('sh', ['-c', `echo cut > ${join(harness.dir, 'data', 'signing-key.pem.next')}`]);
    expect(await parts()).toEqual([`signing ${old}`, `next ${kid}`]);
    harness.clockAhead += (WAIT + 1) * 1000;
    await eventually(async () => expect(await parts()).toEqual([`signing ${kid}`, `retired ${old}`]));
    await harness.restart();
    expect(await parts()).toEqual([`signing ${kid}`, `retired ${old}`]);
    harness.clockAhead += 361_000;
    await eventually(async () => expect(await published()).toEqual([kid]));
  });

  it('is refused to strangers, and that is audited', async () => {
    for (const headers of [{}, { authorization: 'Bearer of-nothing' }]) {
      expect(await rotate({}, headers as Record<string, string>)).toMatchObject({
        ...{ status: 401, json: { error_code: 'operator_unauthorized' } },
      });
      expect(
        (await harness.operatorCall({ path: '/admin/trust', headers: headers as Record<string, string> })).status,
      ).toBe(401);
    }
    expect(await rotate({ all: true })).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
    expect(await published()).toHaveLength(1);
    expect((await rows()).map(({ outcome, code }) => [outcome, code])).toEqual([
      ['refused', 'operator_unauthorized'],
      ['refused', 'operator_unauthorized'],
      ['refused', 'request_malformed'],
    ]);
  });
});

describe('a revocation of every key', () => {
  it('leaves one new key, gives no token of another, and agents hear of it with their next heartbeat', async () => {
    const [old] = await published();
    const who = await session(harness, 'alice');
    expect(await signedBy(who)).toBe(old);
    const ahead = (await rotate()).json as { kid: string };
    const { status, json } = await rotate({ revoke: true, reason: 'stolen' });
    expect(status).toBe(200);
    expect(json.dropped).toEqual([old, ahead.kid]);
    expect(await published()).toEqual([json.kid]);
    expect(keyFile().match(/-----BEGIN/g)).toHaveLength(1);
    // The token that it was given a moment ago is not given again.
    expect(await signedBy(who)).toBe(json.kid);
    const beat = await asSession(harness, who, { method: 'POST', path: '/session/heartbeat' });
    expect(HeartbeatResponse.parse(beat.json).token_keys).toEqual([json.kid]);
    const last = (await rows()).at(-1)!;
    expect(last).toMatchObject({ action: 'operator.rotate', outcome: 'allowed', target: json.kid });
    expect(JSON.parse(last.detail!)).toMatchObject({ revoke: true, because: 'stolen', dropped: [old, ahead.kid] });
  });
});

describe('a key that has reached its age', () => {
  it('is changed by itself', async () => {
    const [old] = await published();
    harness.clockAhead += 31 * 86_400_000;
    await eventually(async () => expect(await published()).toHaveLength(2));
    await meshHears();
    await eventually(async () => expect(keyFile()).toContain('publishedAt'));
    harness.clockAhead += (WAIT + 1) * 1000;
    await eventually(async () => expect((await parts())[1]).toBe(`retired ${old}`));
    expect((await rows()).map(({ action }) => action)).toEqual(['key.rotate', 'key.rotate']);
  });
});

describe('a key of the operator’s own', () => {
  it('is not touched, but followed', async () => {
    const file = join(harness.dir, 'mounted.pem');
    execFileSync('openssl', ['genrsa', '-out', file, '2048'], { stdio: 'pipe' });
    const before = readFileSync(file, 'utf8');
    const signer = await openSigner(file, false);
    const other = await startHarness({ parts: () => ({ signer }) });
    try {
      for (const body of [{}, { revoke: true }]) {
        const answer = await other.operatorCall({
          ...{ method: 'POST', path: '/admin/trust/rotate', body: JSON.stringify({ reason: 'a test', ...body }) },
          headers: { ...OPERATOR, 'content-type': 'application/json' },
        });
        expect(answer).toMatchObject({ status: 409, json: { error_code: 'signing_key_fixed' } });
      }
      other.clockAhead += 400 * 86_400_000;
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(readFileSync(file, 'utf8')).toBe(before);

      // Somebody puts another key in front.
      const seen = async () =>
        ((await other.call({ path: '/jwks' })).json as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
      const [old] = await seen();
      const more = execFileSync('openssl', ['genrsa', '2048'], { stdio: 'pipe' }).toString();
      writeFileSync(file, more + before);
      await eventually(async () => expect(await seen()).toHaveLength(2));
      const [, added] = await seen();
      expect(await seen()).toEqual([old, added]);
      other.mesh.keys = new Set([old!, added!]);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(await seen()).toEqual([old, added]);
      other.clockAhead += 301_000;
      await eventually(async () => expect(await seen()).toEqual([added, old]));
      // What cannot be used changes nothing.
      writeFileSync(file, 'no key');
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(await seen()).toEqual([added, old]);
    } finally {
      await other.stop();
    }
  });
});
