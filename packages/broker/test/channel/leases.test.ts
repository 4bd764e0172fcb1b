/** Leases that agents send themselves, or through an edge: accepted renewals and refused ones. */

import { join } from 'node:path';
import type { DpopKey } from '@meshpass/identity';
import {
  createLeaseProof,
  createStatementReader,
  type LeaseRenewal,
  type LeaseStatement,
} from '@meshpass/identity/channel';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readStore } from '../harness/audit.ts';
import {
  asSession,
  certificates,
  type Enrolled,
  type Harness,
  newKey,
  renewLease,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const LEASE_SECONDS = 45;
let harness: Harness;
let alice: Enrolled;
let seq = 1;
const refusals: string[] = [];

beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev'), grant('ops', ['ops'])]);
});
afterAll(() => harness.stop());
beforeEach(async () => {
  alice = await session(harness, 'alice');
});

const now = () => Date.now() + harness.clockAhead;

async function renew(leases: readonly LeaseRenewal[], token = 'edge-token') {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return harness.call({ method: 'POST', path: '/leases', headers, body: JSON.stringify({ leases }) });
}

/** Renews as an agent does that reaches no edge. */
async function renewOwn(...leases: readonly LeaseRenewal[]) {
  const headers = { 'content-type': 'application/json' };
  return harness.call({ method: 'POST', path: '/leases', headers, body: JSON.stringify({ leases }) });
}

function leaseOf(who: Enrolled, more: { key?: DpopKey; at?: number; seq?: number; sid?: string; as?: string } = {}) {
  const claims = { sid: more.sid ?? who.session.id, seq: more.seq ?? ++seq, at: more.at ?? now() };
  return { session_id: more.as ?? who.session.id, proof: createLeaseProof(claims, more.key ?? who.key) };
}

function statementOf(text: string) {
  const read = createStatementReader(alice.mesh.statement_keys)(text);
  if (read.state !== 'verified') throw new Error(read.state);
  return read.statement;
}

async function codeOf(lease: LeaseRenewal): Promise<string> {
  const answer = await renew([lease]);
  expect(answer.status).toBe(200);
  return answer.json.answers[0].error_code;
}

describe("a lease that is proven by the session's key", () => {
  test("is renewed, and answered with the broker's signed word", async () => {
    harness.clockAhead += 20_000;
    const answer = await renew([leaseOf(alice, { seq: 4711 })]);
    const statement = statementOf(answer.json.answers[0].statement) as LeaseStatement;
    expect(statement).toMatchObject({ kind: 'lease', sid: alice.session.id, seq: 4711 });
    expect(statement.lease_expires_at).toBeGreaterThanOrEqual(harness.now() + LEASE_SECONDS - 2);
    expect(statement.expires_at).toBe(alice.session.expires_at);
    harness.clockAhead += 30_000;
    expect(await renewLease(harness, alice)).toMatchObject({ kind: 'lease' });
  });

  test('is one of many, each answered for itself and in order', async () => {
    const bob = await session(harness, 'bob');
    const { json } = await renew([leaseOf(alice, { key: newKey() }), leaseOf(bob)]);
    expect(json.answers[0]).toEqual({ session_id: alice.session.id, error_code: 'dpop_key_mismatch' });
    expect(statementOf(json.answers[1].statement)).toMatchObject({ kind: 'lease', sid: bob.session.id });
  });

  test('that was held back renews from when it was said', async () => {
    const held = leaseOf(alice);
    harness.clockAhead += 30_000;
    const { json } = await renew([held]);
    const statement = statementOf(json.answers[0].statement) as LeaseStatement;
    expect(statement.lease_expires_at).toBeLessThanOrEqual(harness.now() + LEASE_SECONDS - 29);
  });
});

describe('no lease is renewed', () => {
  test('to clients that are no edges', async () => {
    expect(await renew([leaseOf(alice)], 'x')).toMatchObject({
      status: 401,
      json: { error_code: 'edge_unauthorized' },
    });
  });

  test('by a proof that was used before, or is older than one that was', async () => {
    const first = leaseOf(alice);
    const second = leaseOf(alice);
    expect((await renew([second])).json.answers[0].statement).toBeDefined();
    expect(await codeOf(second)).toBe('dpop_replayed');
    expect(await codeOf(first)).toBe('dpop_replayed');
  });

  test.each([
    ['by another key', () => leaseOf(alice, { key: newKey() }), 'dpop_key_mismatch'],
    ['by a proof of another session', () => leaseOf(alice, { sid: 's-other' }), 'dpop_malformed'],
    [
      'by a proof that came over the connection of another session',
      () => leaseOf(alice, { as: 's-other' }),
      'dpop_malformed',
    ],
    ['by a proof from the future', () => leaseOf(alice, { at: now() + 10_000 }), 'dpop_expired'],
    ['by a proof that is older than a lease', () => leaseOf(alice, { at: now() - 46_000 }), 'dpop_expired'],
    ['by no proof', () => ({ session_id: alice.session.id, proof: 'x' }), 'dpop_malformed'],
    ['to an unknown session', () => leaseOf(alice, { sid: 's-none', as: 's-none' }), 'session_unknown'],
  ])('%s', async (_what, lease, code) => {
    expect(await codeOf(lease())).toBe(code);
    refusals.push(code);
  });

  test('by a proof whose signature was changed', async () => {
    const lease = leaseOf(alice);
    const last = lease.proof.at(-3) === 'A' ? 'B' : 'A';
    expect(await codeOf({ ...lease, proof: `${lease.proof.slice(0, -3)}${last}${lease.proof.slice(-2)}` })).toBe(
      'dpop_signature',
    );
  });

  test('to a session that has ended; the broker tells its agent why', async () => {
    expect(await asSession(harness, alice, { method: 'DELETE', path: '/session' })).toMatchObject({ status: 204 });
    const { json } = await renew([leaseOf(alice)]);
    expect(statementOf(json.answers[0].statement)).toMatchObject({
      kind: 'ended',
      sid: alice.session.id,
      cause: 'goodbye',
    });
    // Nobody else has the broker sign anything for it.
    expect(await codeOf(leaseOf(alice, { key: newKey() }))).toBe('dpop_key_mismatch');
    const lease = leaseOf(alice);
    const last = lease.proof.at(-3) === 'A' ? 'B' : 'A';
    const forged = { ...lease, proof: `${lease.proof.slice(0, -3)}${last}${lease.proof.slice(-2)}` };
    expect(await codeOf(forged)).toBe('dpop_signature');
  });

  test('by a proof from before the broker started', async () => {
    const before = leaseOf(alice);
    await harness.restart();
    expect(await codeOf(before)).toBe('dpop_expired');
    expect((await renew([leaseOf(alice)])).json.answers[0].statement).toBeDefined();
  });
});

describe('a lease that its agent sends itself', () => {
  test("is renewed, and answered with the broker's signed word", async () => {
    harness.clockAhead += 30_000;
    const { status, json } = await renewOwn(leaseOf(alice, { seq: 4711 }));
    expect(status).toBe(200);
    expect(statementOf(json.answers[0].statement)).toMatchObject({ kind: 'lease', sid: alice.session.id, seq: 4711 });
    harness.clockAhead += 30_000;
    expect(await renewLease(harness, alice)).toMatchObject({ kind: 'lease' });
  });

  test('counts with those that edges bring: a proof is accepted once, whichever way it arrives', async () => {
    const [first, second, third] = [leaseOf(alice), leaseOf(alice), leaseOf(alice)];
    expect(await renewOwn(second)).toMatchObject({ status: 200 });
    expect(await codeOf(first)).toBe('dpop_replayed');
    expect((await renew([third])).json.answers[0].statement).toBeDefined();
    expect(await renewOwn(third)).toMatchObject({ status: 401, json: { error_code: 'dpop_replayed' } });
  });

  test('of an ended session is answered with its end, but only if its key proved it', async () => {
    await asSession(harness, alice, { method: 'DELETE', path: '/session' });
    const { json } = await renewOwn(leaseOf(alice));
    expect(statementOf(json.answers[0].statement)).toMatchObject({ kind: 'ended', cause: 'goodbye' });
    const stranger = leaseOf(alice, { key: newKey() });
    expect(await renewOwn(stranger)).toMatchObject({ status: 401, json: { error_code: 'dpop_key_mismatch' } });
  });

  test.each([
    ['of no proof', () => [{ session_id: alice.session.id, proof: 'x' }], 401, 'dpop_malformed'],
    ['of an unknown session', () => [leaseOf(alice, { sid: 's-none', as: 's-none' })], 401, 'session_unknown'],
    ['of too old a proof', () => [leaseOf(alice, { at: now() - 46_000 })], 401, 'dpop_expired'],
    ['of many sessions, as only an edge may', () => [leaseOf(alice), leaseOf(alice)], 400, 'request_malformed'],
    ['of none', () => [], 400, 'request_malformed'],
  ])('is refused: %s', async (_what, leases, status, code) => {
    expect(await renewOwn(...leases())).toMatchObject({ status, json: { error_code: code } });
  });

  test('reads no more than the longest proof', async () => {
    const long = { session_id: alice.session.id, proof: 'x'.repeat(8_192) };
    expect(await renewOwn(long)).toMatchObject({ status: 413, json: { error_code: 'request_too_large' } });
  });
});

test('statements verify by the same key after a restart, and the broker publishes no private key', async () => {
  const [signing, next, ...others] = alice.mesh.statement_keys;
  expect(others).toEqual([]);
  for (const key of [signing!, next!]) expect(Object.keys(key).sort()).toEqual(['crv', 'kid', 'kty', 'x', 'y']);
  await harness.restart();
  const again = await session(harness, 'carol');
  // The next signing key, and with it its statement key, was in the memory of the process.
  expect(again.mesh.statement_keys).toEqual([signing, expect.not.objectContaining({ kid: next!.kid })]);
});

test('the broker answers no request for an unannounced configuration', async () => {
  const answer = await harness.call({
    method: 'POST',
    path: '/edge/configuration',
    headers: { authorization: 'Bearer edge-token', 'content-type': 'application/json' },
    body: JSON.stringify({ set: 'dev', digest: 'A'.repeat(43) }),
  });
  expect(answer).toMatchObject({ status: 404, json: { error_code: 'not_found' } });
});

test('a session whose SVIDs have expired continues by its key, over HTTPS, in a line that keeps none waiting whose are valid', async () => {
  const queues: string[] = [];
  const certify = async () => {
    expect(await certificates(harness, alice, ['dev'])).toMatchObject({ status: 200 });
    queues.push(harness.mesh.signed.at(-1)!.queue);
  };
  await certify();
  await certify();
  for (let n = 0; n < 30; n++) {
    harness.clockAhead += 30_000;
    expect(await renewLease(harness, alice)).toMatchObject({ kind: 'lease' });
  }
  await certify();
  expect(queues).toEqual(['arrival', 'renewal', 'return']);
});

test('each refusal is in the audit log, with the session that it named; of very many only some, so that an edge does not fill it', async () => {
  const flood = Array.from({ length: 500 }, (_, n) => ({
    session_id: n % 2 ? alice.session.id : `made-up-${n}`,
    proof: 'x',
  }));
  const { json } = await renew([...flood.slice(1), leaseOf(alice)]);
  expect((json as { answers: object[] }).answers.at(-1)).toHaveProperty('statement');
  await renew(flood);
  await harness.broker.close();
  const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
  const rows = audit.filter((row) => row.action === 'session.heartbeat' && row.outcome === 'refused');
  expect(refusals.length).toBeGreaterThan(5);
  expect(rows.map((row) => row.code)).toEqual(expect.arrayContaining(refusals));
  const counted = rows.filter((row) => row.session_id === null);
  expect(counted.length).toBeLessThan(10);
  expect(counted.map((row) => row.code)).toContain('dpop_malformed');
  expect(rows.length).toBeLessThan(600);
});
