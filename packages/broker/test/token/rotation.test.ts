/** The signing key is changed in a whole broker: by an operator, by age, at once; through restarts; and never unaudited. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EdgeEvent } from '@meshpass/identity/channel';
import { decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type Answer,
  asSession,
  type Enrolled,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  OPERATOR_TOKEN,
  renewLease,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const OPERATOR = { authorization: `Bearer ${OPERATOR_TOKEN}` };
const WAIT = 30;
/** The broker checks its keys once in this time, ms. */
const LOOK_MS = 1_000;

let harness: Harness;
/** Rows of the audit log up to here are of earlier tests. */
let before = 0;

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  harness = await startHarness({ config: { signingKeyWaitSeconds: WAIT } });
  harness.mesh.setAccess([grant('dev')]);
});
beforeEach(async () => {
  // One key that signs, and the next one, which the mesh has never had.
  expect((await rotate({ revoke: true })).status).toBe(200);
  harness.mesh.keys = new Set((await published()).slice(0, 1));
  before = (await audit()).at(-1)!.seq;
});
afterAll(() => harness.stop());
afterAll(() => vi.useRealTimers());

const keyFile = () => readFileSync(join(harness.dir, 'data', 'signing-key.pem'), 'utf8');
const published = async (): Promise<string[]> =>
  ((await harness.call({ path: '/jwks' })).json as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
/** Plays the reconciler and istiod. */
async function meshHears(): Promise<void> {
  harness.mesh.keys = new Set(await published());
}
const rotate = (body: object = {}, headers: Record<string, string> = OPERATOR): Promise<Answer> =>
  harness.operatorCall({
    method: 'POST',
    path: '/admin/trust/rotate',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ reason: 'a test', ...body }),
  });
const keys = async () => {
  const answer = await harness.operatorCall({ path: '/admin/trust', headers: OPERATOR });
  expect(answer.status, answer.text).toBe(200);
  return answer.json.signing_keys as { kid: string; part: string; in_mesh: boolean }[];
};
const parts = async () => (await keys()).map(({ kid, part }) => `${part} ${kid}`);
/** There is always a next one. */
const withoutNext = async () => (await parts()).filter((one) => !one.startsWith('next '));
/** Lets the broker check its keys twice. The second check begins when the step of the first one has ended. */
async function checked(): Promise<void> {
  const checks = vi.spyOn(harness.mesh, 'tokenKeys');
  await vi.advanceTimersByTimeAsync(2 * LOOK_MS);
  await expect.poll(() => checks.mock.calls.length).toBeGreaterThanOrEqual(2);
  checks.mockRestore();
}
const eventually = (look: () => Promise<void>) => vi.waitFor(look, { timeout: 60_000, interval: 100 });
async function identityToken(who: Enrolled): Promise<string> {
  const answer = await asSession(harness, who, {
    method: 'POST',
    path: '/token',
    headers: FORM,
    body: form({
      grant_type: EXCHANGE,
      subject_token: who.access_token,
      requested_token_type: JWT,
      subject_token_type: 'urn:meshpass:token-type:session',
    }),
  });
  expect(answer.status, answer.text).toBe(200);
  return answer.json.access_token as string;
}
const signedBy = async (who: Enrolled) => decodeProtectedHeader(await identityToken(who)).kid;
interface Row {
  readonly seq: number;
  readonly id: string;
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
    const [old, ahead] = await published();
    harness.mesh.keys = new Set([old!]);
    const { status, json } = await rotate({ reason: 'spring cleaning' });
    expect(status).toBe(200);
    expect(json).toMatchObject({ made: true, kid: ahead });
    const { kid } = json as { kid: string };
    expect(await published()).toEqual([old, kid]);
    expect(await parts()).toEqual([`signing ${old}`, `next ${kid}`]);
    expect(harness.mesh.keyChanges).toBeGreaterThan(0);
    // A copy of the file does not contain the key that replaces the one in it.
    expect(keyFile().match(/PRIVATE KEY-----\n/g)).toHaveLength(2);

    // The mesh has not taken it: it does not sign, however long that takes.
    harness.clockAhead += 10 * WAIT * 1000;
    await checked();
    expect(await signedBy(await session(harness, 'alice'))).toBe(old);
    await meshHears();
    await checked();
    expect(await signedBy(await session(harness, 'bob'))).toBe(old);
    harness.clockAhead += WAIT * 1000;
    await eventually(async () => expect(await withoutNext()).toEqual([`signing ${kid}`, `retired ${old}`]));
    expect(await signedBy(await session(harness, 'carol'))).toBe(kid);

    // The last token of the old key lives five minutes; verifiers allow one more.
    harness.clockAhead += 300_000;
    await checked();
    expect(await withoutNext()).toEqual([`signing ${kid}`, `retired ${old}`]);
    harness.clockAhead += 61_000;
    await eventually(async () => expect(await withoutNext()).toEqual([`signing ${kid}`]));
    expect(keyFile()).not.toContain('PUBLIC KEY');
    expect(await published()).toHaveLength(2);

    const written = await rows();
    expect(written.map(({ action, outcome, target }) => [action, outcome, target])).toEqual([
      ['operator.rotate', 'allowed', kid],
      ['key.rotate', 'allowed', kid],
      ['key.rotate', 'allowed', old],
    ]);
    // The log keeps the public half of the old key, which verifies evidence that it signed.
    expect(JSON.parse(written[2]!.detail!)).toMatchObject({ jwk: { kty: 'RSA', kid: old } });
    expect(JSON.parse(written[0]!.detail!)).toMatchObject({ because: 'spring cleaning' });
    expect(JSON.stringify(written) + harness.log.join('')).not.toMatch(/PRIVATE|"d":/);
  });

  it('is one change for any number of requests', async () => {
    const answers = await Promise.all([rotate(), rotate(), rotate()]);
    expect(new Set(answers.map(({ json }) => json.kid)).size).toBe(1);
    expect(answers.filter(({ json }) => json.made)).toHaveLength(1);
    expect(await published()).toHaveLength(2);
  });

  it('happens at once if the mesh has had the next key for long enough', async () => {
    const [old, next] = await published();
    await meshHears();
    await checked();
    harness.clockAhead += (WAIT + 3) * 1000;
    await checked();
    harness.clockAhead += (WAIT + 3) * 1000;
    const { json } = await rotate();
    expect(json.kid).toBe(next);
    expect(await withoutNext()).toEqual([`signing ${next}`, `retired ${old}`]);
    // The one after it is another one.
    expect(await published()).toEqual([next, expect.not.stringMatching(`^(${old}|${next})$`), old]);
  });

  it('continues after every restart, even of a broker that was interrupted while it wrote, with a key that no file had', async () => {
    const [old, first] = await published();
    harness.mesh.keys = new Set([old!]);
    expect((await rotate()).json.kid).toBe(first);
    await harness.restart();
    execFileSync('sh', ['-c', `echo cut > ${join(harness.dir, 'data', 'signing-key.pem.next')}`]);
    const [still, kid] = await published();
    expect(still).toBe(old);
    expect(kid).not.toBe(first);
    expect((await rotate()).json).toMatchObject({ kid, made: false });
    await meshHears();
    await checked();
    harness.clockAhead += (WAIT + 1) * 1000;
    await eventually(async () => expect(await withoutNext()).toEqual([`signing ${kid}`, `retired ${old}`]));
    await harness.restart();
    expect(await withoutNext()).toEqual([`signing ${kid}`, `retired ${old}`]);
    harness.clockAhead += 361_000;
    await eventually(async () => expect(await withoutNext()).toEqual([`signing ${kid}`]));
  });

  it('is refused to strangers, and that is audited', async () => {
    for (const headers of [{}, { authorization: 'Bearer of-nothing' }]) {
      expect(await rotate({}, headers as Record<string, string>)).toMatchObject({
        status: 401,
        json: { error_code: 'operator_unauthorized' },
      });
      expect(
        (await harness.operatorCall({ path: '/admin/trust', headers: headers as Record<string, string> })).status,
      ).toBe(401);
    }
    expect(await rotate({ all: true })).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
    expect(await withoutNext()).toHaveLength(1);
    expect((await rows()).map(({ outcome, code }) => [outcome, code])).toEqual([
      ['refused', 'operator_unauthorized'],
      ['refused', 'operator_unauthorized'],
      ['refused', 'request_malformed'],
    ]);
  });
});

describe('a revocation of every key', () => {
  it('signs with the key that the mesh has already, publishes no other that signed, and calls agents at once', async () => {
    const [old, ahead] = await published();
    const who = await session(harness, 'alice');
    expect(await signedBy(who)).toBe(old);
    const told: EdgeEvent[] = [];
    const unsubscribe = harness.broker.feed.subscribe((event) => told.push(event));
    told.length = 0;
    const { status, json } = await rotate({ revoke: true, reason: 'stolen' });
    expect(status).toBe(200);
    expect(json).toMatchObject({ kid: ahead, dropped: [old] });
    // An edge that gets a session again makes its agent renew the lease.
    expect(told).toContainEqual(
      expect.objectContaining({ type: 'admit', session: expect.objectContaining({ id: who.session.id }) }),
    );
    unsubscribe();
    const [signing, next, ...others] = await published();
    expect([signing, others]).toEqual([ahead, []]);
    expect([old, ahead]).not.toContain(next);
    expect(keyFile().match(/-----BEGIN/g)).toHaveLength(1);
    // The token that it was given a moment ago is not given again.
    expect(await signedBy(who)).toBe(ahead);
    expect(await renewLease(harness, who)).toMatchObject({ kind: 'lease', token_keys: [ahead, next] });
    const last = (await rows()).at(-1)!;
    expect(last).toMatchObject({ action: 'operator.rotate', outcome: 'allowed', target: ahead });
    expect(JSON.parse(last.detail!)).toMatchObject({ revoke: true, because: 'stolen', dropped: [old] });
  });

  it('also drops the key of statements: agents get statement keys of the remaining keys', async () => {
    const who = await session(harness, 'alice');
    const statementKids = async () => {
      const { json } = await asSession(harness, who, { path: '/services' });
      return (json.mesh.statement_keys as { kid: string }[]).map(({ kid }) => kid);
    };
    const [stolen, next] = await statementKids();
    await rotate({ revoke: true });
    expect(await statementKids()).toEqual([next, expect.not.stringMatching(stolen!)]);
  });

  it('is audited as refused if the keys were not stored, and can be requested again', async () => {
    const [old, next] = await published();
    const blocked = join(harness.dir, 'data', 'signing-key.pem.next');
    mkdirSync(blocked);
    try {
      const { status, json } = await rotate({ revoke: true, reason: 'stolen' });
      expect({ status, code: json.error_code }).toEqual({ status: 400, code: 'config_invalid' });
      expect(await published()).toEqual([old, next]);
      const written = await rows();
      expect(written.map(({ action, outcome, code, target }) => [action, outcome, code, target])).toEqual([
        ['operator.rotate', 'allowed', null, next],
        ['operator.rotate', 'refused', 'config_invalid', next],
      ]);
      expect(written[1]).toMatchObject({ id: json.decision_id });
      expect(JSON.parse(written[1]!.detail!)).toMatchObject({ revoke: true, because: 'stolen', dropped: [old] });
    } finally {
      rmdirSync(blocked);
    }
    expect(await rotate({ revoke: true })).toMatchObject({ status: 200, json: { kid: next, dropped: [old] } });
  });

  it('also drops earlier signing keys', async () => {
    const [old] = await published();
    await meshHears();
    await checked();
    harness.clockAhead += (WAIT + 3) * 1000;
    await checked();
    harness.clockAhead += (WAIT + 3) * 1000;
    const { kid } = (await rotate()).json as { kid: string };
    expect(await withoutNext()).toEqual([`signing ${kid}`, `retired ${old}`]);
    expect((await rotate({ revoke: true })).json.dropped).toEqual([kid, old]);
    expect(await withoutNext()).toHaveLength(1);
  });
});

describe('a key that has reached its age', () => {
  it('is changed by itself, and its age is that of the key, not of the process', async () => {
    const [old, next] = await published();
    const since = async () => {
      const { text } = await harness.operatorCall('/metrics');
      return Number(/^meshpass_signing_key_since_seconds (\S+)$/m.exec(text)![1]);
    };
    const signs = await since();
    harness.clockAhead += 20 * 86_400_000;
    await harness.restart();
    expect(await since()).toBe(signs);
    const [, after] = await published();
    expect(after).not.toBe(next);
    await meshHears();
    await checked();
    harness.clockAhead += 11 * 86_400_000;
    await eventually(async () => expect(await withoutNext()).toEqual([`signing ${after}`, `retired ${old}`]));
    expect((await rows()).map(({ action }) => action)).toEqual(['key.rotate']);
  });
});
