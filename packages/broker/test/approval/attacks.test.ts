/** Attacks with a request for approval, or with credentials gained by one, after its end; restarts do not help. */
import { authorize } from '@meshpass/access';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { answer as answerOf, ask as askFor, openWorkspace, post } from '../harness/approval/approvals.ts';
import { certificates, derive, type Enrolled, type Harness, renewLease, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const place = { file: 'access.yaml', line: 9, column: 5 };
const who = [{ place, issuer: 'idp' }];
const leads = [{ place, issuer: 'idp', when: 'subject in ["idp:bob", "idp:carol"]' }];
const approval = { place, by: leads, for: 600, max: 1200, reason: 'optional', count: 1 } as const;

describe('an attack on approvals', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness({ parts: () => ({ authorize }) });
  });
  beforeEach(() => {
    harness.clockAhead += 200_000;
    harness.mesh.setAccess([grant('dev', [], { who }), grant('prod', [], { who, approval })]);
  });
  afterAll(() => harness.stop());

  const open = (subject: string, workspace?: string) => openWorkspace(harness, subject, workspace);
  const ask = async (one: Enrolled): Promise<string> => (await askFor(harness, one)).json.id;
  const answer = async (one: Enrolled, id: string, order?: object) => (await answerOf(harness, one, id, order)).json;
  const grantsOf = async (one: Enrolled): Promise<string[]> => {
    const token = (await derive(harness, one)).json.access_token.split('.')[1];
    return JSON.parse(Buffer.from(token, 'base64url').toString()).grants;
  };
  const has = async (one: Enrolled) => ({
    grants: await grantsOf(one),
    certificate: (await certificates(harness, one, ['prod'])).status,
  });
  const NOTHING = { grants: ['dev'], certificate: 403 };

  it('by an expired grant gets no certificate and no token, even after a restart', async () => {
    const [alice, bob] = [await open('alice'), await open('bob')];
    const id = await ask(alice);
    expect((await answer(bob, id, { seconds: 60 })).state).toBe('approved');
    expect(await has(alice)).toEqual({ grants: ['dev', 'prod'], certificate: 200 });
    for (let n = 0; n < 3; n++) {
      harness.clockAhead += 21_000;
      for (const one of [alice, bob]) await renewLease(harness, one);
    }
    await expect.poll(() => has(alice)).toEqual(NOTHING);
    expect((await answer(bob, id)).error_code).toBe('approval_unknown');
    await harness.restart();
    expect(await has(alice)).toEqual(NOTHING);
    expect((await answer(bob, id)).error_code).toBe('approval_unknown');
  });

  it('by answering a denied, withdrawn or revoked request gains nothing, even after a restart', async () => {
    const [alice, bob, carol] = [await open('anna'), await open('bob'), await open('carol')];
    const denied = await ask(alice);
    await answer(bob, denied, { decision: 'deny' });
    const withdrawn = await ask(alice);
    await post(harness, alice, '/approvals/withdraw', { id: withdrawn });
    const returned = await ask(alice);
    expect((await answer(bob, returned)).state).toBe('approved');
    await post(harness, alice, '/approvals/withdraw', { id: returned });
    for (const restart of [false, true]) {
      if (restart) await harness.restart();
      for (const id of [denied, withdrawn, returned])
        expect((await answer(carol, id)).error_code).toBe('approval_unknown');
      expect(await has(alice)).toEqual(NOTHING);
    }
  });

  it('by the next session of the workspace, or another of the person, has none of the approved access', async () => {
    const [alice, bob] = [await open('astrid', 'w:same'), await open('bob')];
    const waits = await ask(alice);
    const next = await open('astrid', 'w:same');
    expect((await answer(bob, waits)).error_code).toBe('approval_unknown');
    const id = await ask(next);
    expect((await answer(bob, id)).state).toBe('approved');
    for (const one of [await open('astrid'), await open('astrid', 'w:same')]) expect(await has(one)).toEqual(NOTHING);
  });

  it('by an answer for longer than the file allows gains only the allowed time', async () => {
    const [alice, bob] = [await open('agnes'), await open('bob')];
    const { until, error_code } = await answer(bob, await ask(alice), { seconds: 12 * 3600 });
    expect(error_code ?? until - harness.now()).toBeLessThanOrEqual(1200);
  });
});
