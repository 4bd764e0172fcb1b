/** Refusals that workspaces report: in the audit log with their session, marked as unverified, and bounded. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditRow } from '../../src/audit/log/event.ts';
import type { SessionContext } from '../../src/core/session/context.ts';
import { createLiveIndex, type Live } from '../../src/core/session/live.ts';
import { createRefusalCollector } from '../../src/core/session/reported-refusals.ts';
import { asSession, type Enrolled, type Harness, OPERATOR_TOKEN, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const HOST = 'orders.shop.svc.cluster.local';
const ID = '0190a5b4-3c1e-4f6a-9d2b-0123456789ab';
const refusal = (more: object = {}) => ({
  hop: 'workload',
  host: HOST,
  port: 80,
  method: 'GET',
  status: 403,
  code: 'agent_policy_refused',
  count: 3,
  ids: [ID],
  ...more,
});

describe('a report of refusals', { timeout: 120_000 }, () => {
  let harness: Harness;
  let alice: Enrolled;
  beforeAll(async () => {
    harness = await startHarness();
    harness.mesh.setAccess([grant('payments-dev')]);
  }, 120_000);
  beforeEach(async () => {
    alice = await session(harness, 'alice');
  });
  afterAll(() => harness?.stop());

  const beat = (body: unknown) =>
    asSession(harness, alice, {
      method: 'POST',
      path: '/session/refusals',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const rows = async () => {
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    const { json } = await harness.operatorCall({ path: `/audit?session=${alice.session.id}`, headers });
    return (json as { rows: AuditRow[] }).rows.filter(({ action }) => action === 'request');
  };

  it('has a row with the session, the person and the id of the request', async () => {
    expect(await beat({ refusals: [refusal()] })).toMatchObject({ status: 204 });
    await expect.poll(rows).toHaveLength(1);
    const [row] = await rows();
    expect(row).toMatchObject({
      outcome: 'refused',
      code: 'agent_policy_refused',
      session_id: alice.session.id,
      target: `${HOST}:80`,
      request_id: ID,
      subject: expect.stringContaining('alice'),
      reason: "Unverified report from the workspace: the service's policy denied a GET request (403) 3 times.",
    });
    expect(JSON.parse(row!.detail!)).toMatchObject({
      reportedBy: 'workspace',
      hop: 'workload',
      method: 'GET',
      status: 403,
      count: 3,
      requests: [ID],
    });
  });

  it('of the previous session has a row with that session, if it belonged to the same workspace', async () => {
    const bob = await session(harness, 'bob');
    const before = alice;
    alice = await session(harness, 'alice');
    await asSession(harness, bob, { method: 'DELETE', path: '/session' });
    const of = (session_id: string, port: number) => ({ earlier: { session_id, refusals: [refusal({ port })] } });
    expect(await beat(of(before.session.id, 81))).toMatchObject({ status: 204 });
    expect(await beat(of(bob.session.id, 82))).toMatchObject({ status: 204 });
    // Nobody writes rows of another workspace's session: that one is taken as its own.
    await expect.poll(rows).toHaveLength(1);
    expect((await rows())[0]).toMatchObject({ target: `${HOST}:82` });
    const now = alice;
    alice = before;
    await expect.poll(rows).toHaveLength(1);
    const [row] = await rows();
    expect(row).toMatchObject({ target: `${HOST}:81`, session_id: before.session.id });
    expect(JSON.parse(row!.detail!)).toMatchObject({ reportedBy: 'workspace', reportedWith: now.session.id });
    alice = bob;
    expect(await rows()).toEqual([]);
  });

  it.each([
    ['an id of a session that is none', { earlier: { session_id: '../x', refusals: [] } }],
    ['a path', { refusals: [refusal({ path: '/secret' })] }],
    ['a host that is no name', { refusals: [refusal({ host: 'Orders shop' })] }],
    ['a method of its own', { refusals: [refusal({ method: 'S3CRET' })] }],
    ['an id that is no UUID', { refusals: [refusal({ ids: ['bearer-abc'] })] }],
    ['an unknown code', { refusals: [refusal({ code: 'made_up' })] }],
    ['too many kinds', { refusals: Array.from({ length: 33 }, (_, n) => refusal({ port: n + 1 })) }],
    ['a number without measure', { refusals: [refusal({ count: 1e12 })] }],
  ])('with %s is refused', async (_, body) => {
    expect(await beat(body)).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
    expect(await rows()).toEqual([]);
  });
});

describe('a workspace that reports without end', () => {
  const live = (id: string) =>
    ({
      session: {
        id,
        grants: [],
        attestation: { issuer: 'github', subject: 'github:1', login: 'alice', workspace: { key: 'codespace:1' } },
      },
    }) as unknown as Live;
  function reports() {
    const written: AuditRow[] = [];
    let now = 1_000_000;
    const made = createRefusalCollector({
      clock: () => now,
      random: (size: number) => Buffer.alloc(size, 7),
      audit: { ruleOf: () => undefined },
      mesh: { inForce: () => false, services: () => [] },
      live: createLiveIndex(),
    } as unknown as SessionContext);
    const counted = () =>
      written.reduce((sum, { detail }) => sum + (JSON.parse(detail!) as { count: number }).count, 0);
    return {
      made,
      written,
      counted,
      write: () => void written.push(...made.takeRows()),
      pass: (ms: number) => {
        now += ms;
      },
    };
  }
  const kinds = (from: number) => ({
    refusals: Array.from({ length: 32 }, (_, n) => ({ ...refusal({ port: from + n, count: 1 }) })) as never,
  });

  it('gets a bounded number of rows, and nothing that it counted is lost', () => {
    const { made, written, counted, write, pass } = reports();
    for (let n = 0; n < 1_000; n++) {
      made.take(live('one'), kinds(1 + n * 32), {});
      write();
      pass(100);
    }
    expect(written.length).toBeLessThanOrEqual(20 + 100 / 30 + 1);
    for (let n = 0; n < 100; n++) {
      pass(60_000);
      write();
    }
    expect(counted()).toBe(32_000);
    expect(written.length).toBeLessThan(100);
    expect(written.some(({ reason }) => /other kinds of refusals/.test(reason))).toBe(true);
  });

  it('does not take the rows of another session', () => {
    const { made, written, write } = reports();
    made.take(live('one'), kinds(1), {});
    made.take(live('two'), { refusals: [refusal() as never] }, {});
    write();
    expect(written.filter((row) => row.session_id === 'one')).toHaveLength(20);
    expect(written.filter((row) => row.session_id === 'two')).toHaveLength(1);
  });

  it('does not keep others from theirs, however many do so together', () => {
    const { made, written, write, pass } = reports();
    const many = (times: number) => {
      for (let n = 0; n < times; n++) {
        for (let one = 0; one < 400; one++) made.take(live(`many-${one}`), kinds(1), {});
        pass(15_000);
        write();
      }
    };
    many(60);
    made.take(live('other'), { refusals: [refusal() as never] }, {});
    many(10);
    expect(written.filter((row) => row.session_id === 'other')).toHaveLength(1);
  });
});
