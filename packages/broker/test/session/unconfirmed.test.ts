/** The store has a gain, and its answer is lost: nobody was told of it, so nothing is left of it. Also after a broker that ended between two writes. */
import { join } from 'node:path';
import { authorize } from '@meshpass/access';
import { MeshpassError, ServicesResponse } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Entry, Journal } from '../../src/audit/log/journal.ts';
import { openStore } from '../../src/store/open.ts';
import { readStore } from '../harness/audit.ts';
import { asSession, certificates, type Enrolled, type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

/** What becomes of the next entries: asked before each; `lost`: it is written, and the writer hears that it was not. */
const fate = vi.hoisted(() => ({ of: (_entry: unknown): 'written' | 'lost' | 'refused' => 'written' }));

vi.mock('../../src/audit/log/journal.ts', async (original) => {
  const real = await original<typeof import('../../src/audit/log/journal.ts')>();
  return {
    ...real,
    createJournal: (options: Parameters<typeof real.createJournal>[0]): Journal => {
      const journal = real.createJournal(options);
      return {
        ...journal,
        write: async (entry) => {
          const what = fate.of(entry);
          if (what !== 'refused') await journal.write(entry);
          if (what !== 'written') throw new MeshpassError('store_unavailable', 'The answer was lost.');
        },
      };
    },
  };
});

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
    fate.of = () => 'written';
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })]);
    harness.clockAhead += 100_000;
  });
  afterAll(() => harness.stop());

  const lose = (which: (entry: Entry) => boolean) => {
    let once = false;
    fate.of = (entry) => {
      if (once || !which(entry as Entry)) return 'written';
      once = true;
      return 'lost';
    };
  };
  const post = async (one: Enrolled, path: string, body: object) =>
    await asSession(harness, one, {
      ...{ method: 'POST', path, headers: { 'content-type': 'application/json' } },
      body: JSON.stringify(body),
    });
  const ask = async (one: Enrolled): Promise<string> =>
    (await post(one, '/approvals', { grant: 'prod', reason: 'INC-1' })).json.id;
  const answer = (one: Enrolled, id: string, decision = 'approve') => post(one, '/approvals/answer', { id, decision });
  const held = async (one: Enrolled) =>
    ServicesResponse.parse((await asSession(harness, one, { path: '/services' })).json).held!;
  const names = async (one: Enrolled) => (await held(one)).map((has) => has.grant);
  /** Once it is known again what the store has. */
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
  const stored = async () => {
    await harness.broker.close();
    const read = await readStore({ dataDir: join(harness.dir, 'data') });
    await harness.restart();
    return read;
  };

  it('of an approval is taken back, so that a later denial leaves nothing in the store', async () => {
    const alice = await session(harness, 'alice');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    lose((entry) => entry.gained !== undefined);
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    expect(await names(alice)).toEqual(['dev']);
    expect(await answered(bob, id, 'deny')).toBe('denied');
    const { audit, principals, sessions } = await stored();
    expect(JSON.parse(sessions.find((one) => one.id === alice.session.id)!.grants)).toHaveLength(1);
    const own = principals.filter((one) => one.session_id === alice.session.id && one.grant_name === 'prod');
    expect(own.map((one) => one.revoked_at !== null)).toEqual([true]);
    const rows = audit.filter((row) => row.session_id === alice.session.id && row.grant_name === 'prod');
    expect(rows.map((row) => [row.action, row.outcome]).filter(([action]) => action?.startsWith('session'))).toEqual([
      ['session.widen', 'allowed'],
      ['session.narrow', 'ended'],
    ]);
    expect(await names(alice)).toEqual(['dev']);
  });

  it('of an approval can be approved again, with one principal', async () => {
    const alice = await session(harness, 'anna');
    const bob = await session(harness, 'bob');
    const id = await ask(alice);
    lose((entry) => entry.gained !== undefined);
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    expect(await answered(bob, id)).toBe('approved');
    const before = (await held(alice)).find((one) => one.grant === 'prod')!;
    await certificates(harness, alice, ['prod']);
    const { principals } = await stored();
    const live = principals.filter(
      (one) => one.session_id === alice.session.id && one.grant_name === 'prod' && one.revoked_at === null,
    );
    expect(live.map((one) => one.spiffe_id)).toEqual([before.spiffe_id]);
    expect((await held(alice)).find((one) => one.grant === 'prod')).toEqual(before);
  });

  it('of an emergency is taken back, needs no review, and can be taken again', async () => {
    const alice = await session(harness, 'ada');
    const take = async () => (await post(alice, '/approvals/emergency', { grant: 'prod', reason: 'INC-1' })).json;
    lose((entry) => entry.gained !== undefined);
    expect((await take()).error_code).toBe('store_unavailable');
    expect(await names(alice)).toEqual(['dev']);
    const again = await vi.waitFor(
      async () => {
        const taken = await take();
        expect(taken.error_code).toBeUndefined();
        return taken;
      },
      { timeout: 20_000 },
    );
    await stored();
    const { own } = (await asSession(harness, alice, { path: '/approvals' })).json;
    const states = own.map((one: { id: string; state: string; emergency: { state: string } }) => [
      ...[one.id === again.id, one.state, one.emergency.state],
    ]);
    expect(states.sort()).toEqual([
      [false, 'ended', 'void'],
      [true, 'approved', 'open'],
    ]);
    expect(await names(alice)).toEqual(['dev', 'prod']);
  });

  it('of an emergency or an approval is taken back at webhooks, too, behind what they were told of it', async () => {
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })], undefined, {}, [], {
      webhooks: [{ name: 'chat', url: 'https://chat.example', speaksFor: 'idp', place }],
    });
    const [alice, bob] = [await session(harness, 'abby'), await session(harness, 'bob')];
    lose((entry) => entry.gained !== undefined);
    expect((await post(alice, '/approvals/emergency', { grant: 'prod', reason: 'INC-1' })).json.error_code).toBe(
      'store_unavailable',
    );
    const carol = await session(harness, 'abe');
    const id = await ask(carol);
    lose((entry) => entry.gained !== undefined);
    expect((await answer(bob, id)).json.error_code).toBe('store_unavailable');
    expect(await answered(bob, id, 'deny')).toBe('denied');
    await harness.broker.close();
    const store = await openStore({ dataDir: join(harness.dir, 'data') });
    const rows = await store.db.selectFrom('approval_deliveries').selectAll().orderBy('id').execute();
    await store.close();
    await harness.restart();
    const told = rows.map(({ body }) => JSON.parse(body));
    const of = (login: string) =>
      told
        .filter(({ data }) => data.person.login === login)
        .map(({ type, data }) => [type, data.state, ...(data.emergency ? [data.emergency.state] : [])]);
    expect(of('abby')).toEqual([
      ['approval.emergency', 'approved', 'open'],
      ['approval.changed', 'ended', 'void'],
    ]);
    expect(of('abe')).toEqual([
      ['approval.requested', 'pending'],
      ['approval.changed', 'approved'],
      ['approval.changed', 'pending'],
      ['approval.changed', 'denied'],
    ]);
  });

  it('of a denial counts, where the store has it', async () => {
    const alice = await session(harness, 'astrid');
    const bob = await session(harness, 'bob');
    const carol = await session(harness, 'carol');
    const id = await ask(alice);
    lose((entry) => entry.approvals !== undefined);
    expect((await answer(bob, id, 'deny')).json.error_code).toBe('store_unavailable');
    expect(await answered(carol, id)).toBe('approval_unknown');
    expect(await names(alice)).toEqual(['dev']);
  });

  it('of a broker that ended meanwhile leaves one principal of each grant that is held', async () => {
    const alice = await session(harness, 'agnes');
    await certificates(harness, alice, ['dev']);
    const [dev] = await held(alice);
    await harness.broker.close();
    const store = await openStore({ dataDir: join(harness.dir, 'data') });
    const { id } = alice.session;
    const left = (name: string, account: string) => ({
      ...{ session_id: id, grant_name: name, namespace: `meshpass-${name}`, service_account: account },
      ...{ spiffe_id: `spiffe://x/ns/meshpass-${name}/sa/${account}`, last_not_after: null },
      ...{ revoked_at: null, revoke_cause: null },
    });
    await store.db
      .insertInto('session_principals')
      .values([left('dev', 'a-0'), left('prod', 'a-1')])
      .execute();
    await store.close();
    await harness.restart();
    expect(await held(alice)).toEqual([dev]);
    expect((await certificates(harness, alice, ['prod'])).status).toBe(403);
    const { principals } = await stored();
    const live = principals.filter((one) => one.session_id === id && one.revoked_at === null);
    expect(live.map((one) => one.spiffe_id)).toEqual([dev!.spiffe_id]);
  });

  it('of a loss is written again with what was gained meanwhile', async () => {
    harness.mesh.setAccess([
      grant('dev', [], { who }),
      grant('ops', [], { who }),
      grant('prod', [], { who, approval }),
    ]);
    const alice = await session(harness, 'agathe');
    let refused = 0;
    fate.of = (entry) => {
      const isLoss = (entry as Entry).revoked?.some((one) => one.session_id === alice.session.id);
      return isLoss && refused++ === 0 ? 'refused' : 'written';
    };
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })]);
    await vi.waitFor(() => expect(refused).toBe(1));
    const given = await harness.broker.gain(alice.session.id, 'prod', {
      cause: 'approved',
      until: harness.now() + 900,
    });
    expect(given.granted).toBe(true);
    await vi.waitFor(() => expect(refused).toBe(2), { timeout: 20_000 });
    const { sessions } = await stored();
    const grants = JSON.parse(sessions.find((one) => one.id === alice.session.id)!.grants) as { name: string }[];
    expect(grants.map((one) => one.name)).toEqual(['dev', 'prod']);
  });
});
