/** The store's answer is lost: the broker reads what the store has before it decides again, and that counts. */
import { join } from 'node:path';
import { authorize } from '@meshpass/access';
import type { EdgeEvent } from '@meshpass/identity/channel';
import { ServicesResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { UPSERT_REQUESTS } from '../../src/admin/approval/rows.ts';
import { REVOKE_PRINCIPALS } from '../../src/core/session-sql.ts';
import { openStore } from '../../src/store/open.ts';
import { readStore } from '../harness/audit.ts';
import {
  asSession,
  certificates,
  type Enrolled,
  type Harness,
  OPERATOR_TOKEN,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { reusedStore } from '../harness/store/engines.ts';
import { fate, loseOnce, resetFate, type Written } from './fate.ts';

vi.mock('../../src/store/open.ts', async (original) => (await import('./fate.ts')).withFate(original));

const isGain = ({ audit }: Written) => audit.some(({ action }) => action === 'session.widen');
const place = { file: 'access.yaml', line: 9, column: 5 };
const who = [{ place, issuer: 'idp' }];
const leads = [{ place, issuer: 'idp', when: 'subject in ["idp:bob", "idp:carol"]' }];
const emergency = { place, for: 1800, review: leads, within: 86_400 };
const approval = { place, by: leads, for: 3600, max: 7200, reason: 'optional', count: 1, emergency } as const;

describe('what the store did not confirm', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness({ parts: () => ({ authorize }) });
  });
  beforeEach(() => {
    resetFate();
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })]);
    harness.clockAhead += 100_000;
  });
  afterAll(() => harness.stop());

  const post = async (one: Enrolled, path: string, body: object) =>
    await asSession(harness, one, {
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const ask = async (one: Enrolled): Promise<string> =>
    (await post(one, '/approvals', { grant: 'prod', reason: 'INC-1' })).json.id;
  const answer = (one: Enrolled, id: string, decision = 'approve') => post(one, '/approvals/answer', { id, decision });
  const held = async (one: Enrolled) =>
    ServicesResponse.parse((await asSession(harness, one, { path: '/services' })).json).held;
  const names = async (one: Enrolled) => (await held(one)).map((has) => has.grant);
  /** Answers a request once the broker knows again what the store has. */
  const answered = async (one: Enrolled, id: string, decision?: string) => {
    const last = await vi.waitFor(
      async () => {
        const given = await answer(one, id, decision);
        expect(given.json.error_code).not.toBe('store_unavailable');
        return given;
      },
      { timeout: 20_000 },
    );
    return last.json.error_code ?? last.json.state;
  };
  const closeCauseOf = async ({ session: { id } }: Enrolled) =>
    (await stored()).sessions.find((one) => one.id === id)!.close_cause;
  const stored = async () => {
    await harness.broker.close();
    const read = await readStore({ dataDir: join(harness.dir, 'data') });
    await harness.restart();
    return read;
  };

  it("of an operator's end is stored with its cause, although the workspace has opened another session", async () => {
    const mallory = await session(harness, 'mallory');
    await certificates(harness, mallory, ['dev']);
    let refusals = 0;
    fate.of = ({ audit }) =>
      audit.some(({ action }) => action === 'session.close') && refusals++ === 0 ? 'refused' : 'written';
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ id: mallory.session.id });
    const closing = harness.operatorCall({ method: 'POST', path: '/admin/sessions/close', headers, body });
    await vi.waitFor(() => expect(refusals).toBeGreaterThan(0), { timeout: 60_000 });
    await session(harness, 'mallory');
    expect((await closing).status).toBe(200);
    expect(await closeCauseOf(mallory)).toBe('operator');
  });

  it('of an end by an operator is stored with its cause, although a replacement was stored before', async () => {
    const first = await session(harness, 'mallory');
    await certificates(harness, first, ['dev']);
    const written = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    fate.after = async ({ audit }) => {
      if (!audit.some(({ action }) => action === 'session.open')) return;
      written.resolve();
      await answer.promise;
    };
    const second = session(harness, 'mallory');
    await written.promise;
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ id: first.session.id });
    const events: EdgeEvent[] = [];
    const stop = harness.broker.feed.subscribe((event) => events.push(event));
    const closing = harness.operatorCall({ method: 'POST', path: '/admin/sessions/close', headers, body });
    // Edges know it before the store.
    await vi.waitFor(
      () => expect(events).toContainEqual(expect.objectContaining({ type: 'close', id: first.session.id })),
      { timeout: 60_000 },
    );
    stop();
    answer.resolve();
    expect((await closing).status).toBe(200);
    await second;
    expect(await closeCauseOf(first)).toBe('operator');
  });

  it('of an approval counts if the store has it, and a later denial is refused', async () => {
    const alice = await session(harness, 'alice');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    loseOnce(isGain);
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    expect(await answered(bob, id, 'deny')).toBe('approval_unknown');
    const before = (await held(alice)).find((one) => one.grant === 'prod')!;
    await certificates(harness, alice, ['prod']);
    const { audit, principals } = await stored();
    const own = principals.filter((one) => one.session_id === alice.session.id && one.grant_name === 'prod');
    expect(own.map((one) => [one.spiffe_id, one.revoked_at])).toEqual([[before.spiffe_id, null]]);
    const rows = audit.filter((row) => row.session_id === alice.session.id && row.grant_name === 'prod');
    expect(rows.map((row) => [row.action, row.outcome]).filter(([action]) => action === 'session.widen')).toEqual([
      ['session.widen', 'allowed'],
    ]);
    expect((await held(alice)).find((one) => one.grant === 'prod')).toEqual(before);
  });

  it('of an approval counts, although nobody calls and the answer of the store stays away for a while', async () => {
    const alice = await session(harness, 'anna');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    let lost = 0;
    fate.of = (written) => {
      if (!isGain(written) && (lost === 0 || lost > 3)) return 'written';
      lost++;
      return 'lost';
    };
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    await vi.waitFor(async () => expect(await names(alice)).toEqual(['dev', 'prod']), { timeout: 20_000 });
  });

  it('of an approval does not count if the store does not have it', async () => {
    const alice = await session(harness, 'aline');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    let refused = false;
    fate.of = (written) => {
      if (!isGain(written) || refused) return 'written';
      refused = true;
      return 'refused';
    };
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    expect(await answered(bob, id, 'deny')).toBe('denied');
    expect(await names(alice)).toEqual(['dev']);
  });

  it('of an emergency counts if the store has it, with its review', async () => {
    const alice = await session(harness, 'ada');
    const take = async () => (await post(alice, '/approvals/emergency', { grant: 'prod', reason: 'INC-1' })).json;
    loseOnce(isGain);
    expect((await take()).error_code).toBe('store_unavailable');
    await vi.waitFor(async () => expect((await take()).error_code).toBe('approval_open'), { timeout: 20_000 });
    const { own } = (await asSession(harness, alice, { path: '/approvals' })).json;
    expect(own.map((one: { state: string; emergency: { state: string } }) => [one.state, one.emergency.state])).toEqual(
      [['approved', 'open']],
    );
    expect(await names(alice)).toEqual(['dev', 'prod']);
  });

  it('of a loss and an approval after it leaves the approval', async () => {
    const [dev, ops, prod] = [
      grant('dev', [], { who }),
      grant('ops', [], { who }),
      grant('prod', [], { who, approval }),
    ];
    harness.mesh.setAccess([dev, ops, prod]);
    const alice = await session(harness, 'amelie');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    loseOnce((written) => written.rows(REVOKE_PRINCIPALS).some((one) => one.session_id === alice.session.id));
    harness.mesh.setAccess([dev, prod]);
    expect(await answered(bob, id)).toBe('approved');
    expect(await names(alice)).toEqual(['dev', 'prod']);
    const { principals } = await stored();
    const own = principals.filter((one) => one.session_id === alice.session.id && one.revoked_at === null);
    expect(own.map((one) => one.grant_name).sort()).toEqual(['dev', 'prod']);
  });

  it('of an opening leaves one session, which the next one of the workspace replaces', async () => {
    loseOnce(({ audit }) => audit.some(({ action }) => action === 'session.open'));
    await expect(session(harness, 'aurora')).rejects.toThrow('store_unavailable');
    const again = await session(harness, 'aurora');
    expect(await names(again)).toEqual(['dev']);
    const { sessions } = await stored();
    const own = sessions.filter(({ login }) => login === 'aurora');
    expect(own.map(({ id, close_cause }) => [id === again.session.id, close_cause]).sort()).toEqual([
      [false, 'replaced'],
      [true, null],
    ]);
  });

  it('of a denial counts if the store has it', async () => {
    const alice = await session(harness, 'astrid');
    const bob = await session(harness, 'bob');
    const carol = await session(harness, 'carol');
    const id = await ask(alice);
    loseOnce((written) => written.rows(UPSERT_REQUESTS).length > 0);
    expect((await answer(bob, id, 'deny')).json.error_code).toBe('store_unavailable');
    expect(await answered(carol, id)).toBe('approval_unknown');
    expect(await names(alice)).toEqual(['dev']);
  });

  it('cannot leave two principals for one grant of a session', async () => {
    const alice = await session(harness, 'agnes');
    await harness.broker.close();
    const store = await openStore(await reusedStore(join(harness.dir, 'data')));
    const [dev] = await store.db
      .selectFrom('session_principals')
      .selectAll()
      .where('session_id', '=', alice.session.id)
      .execute();
    const second = { ...dev!, service_account: 'a-0', spiffe_id: 'spiffe://x/ns/meshpass-dev/sa/a-0' };
    await expect(store.db.insertInto('session_principals').values(second).execute()).rejects.toThrow(
      'session_principals_held',
    );
    await store.close();
    await harness.restart();
  });

  it('decides again for each cause, if the file changed while a gain of another cause was stored', async () => {
    const alice = await session(harness, 'agatha');
    const opens = harness.now() + 50;
    const during = [{ place, zone: 'UTC', after: opens, before: opens + 1_000 }] as never;
    fate.after = async ({ audit }) => {
      if (audit.some(({ action, grant_name }) => action === 'session.widen' && grant_name === 'timed'))
        harness.mesh.setAccess([grant('dev', [], { who }), grant('timed', [], { who, during })]);
    };
    await harness.restart(() => {
      harness.clockAhead += 51_000;
      harness.mesh.setAccess([
        grant('dev', [], { who }),
        grant('timed', [], { who, during }),
        grant('wide', [], { who }),
      ]);
    });
    await vi.waitFor(async () => expect(await names(alice)).toEqual(['dev', 'timed']), { timeout: 20_000 });
    const { audit } = await stored();
    const own = audit.filter((row) => row.session_id === alice.session.id && row.action === 'session.widen');
    expect(own.map((row) => row.grant_name)).toEqual(['timed']);
  });

  it('of a loss is written again, together with grants gained since', async () => {
    harness.mesh.setAccess([
      grant('dev', [], { who }),
      grant('ops', [], { who }),
      grant('prod', [], { who, approval }),
    ]);
    const alice = await session(harness, 'agathe');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    let refused = 0;
    fate.of = (written) => {
      const isLoss = written.rows(REVOKE_PRINCIPALS).some((one) => one.session_id === alice.session.id);
      return isLoss && refused++ === 0 ? 'refused' : 'written';
    };
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })]);
    await vi.waitFor(() => expect(refused).toBe(1), { timeout: 60_000 });
    expect(await answered(bob, id)).toBe('approved');
    await vi.waitFor(() => expect(refused).toBe(2), { timeout: 20_000 });
    const { principals } = await stored();
    const own = principals.filter((one) => one.session_id === alice.session.id && one.revoked_at === null);
    expect(own.map((one) => one.grant_name).sort()).toEqual(['dev', 'prod']);
  });
});
