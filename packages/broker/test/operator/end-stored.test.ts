/** Ends of operators' sessions that the store does not take at once: nobody gets in here, and soon nobody does at the next broker. */
import { randomBytes } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { Entry, Journal } from '../../src/audit/log/journal.ts';
import { endForLostRole } from '../../src/operator/end-sessions.ts';
import type { OperatorSession, OperatorSessions } from '../../src/operator/sessions.ts';
import { type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import {
  asOperator,
  confirmSignIn,
  operatorsByGroup,
  refreshedIdToken,
  type SignedIn,
  signIn,
} from '../harness/operators.ts';

/** How many ends the store fails to take from now on, and how many it has taken. */
const ends = vi.hoisted(() => ({ lost: 0, stored: 0 }));
vi.mock('../../src/audit/log/journal.ts', async (original) => {
  const real = await original<typeof import('../../src/audit/log/journal.ts')>();
  const createJournal = (options: Parameters<typeof real.createJournal>[0]): Journal => {
    const journal = real.createJournal(options);
    const write = async (entry: Entry) => {
      const isEnd = (entry.operatorsClosed?.length ?? 0) > 0;
      if (isEnd && ends.lost-- > 0) throw new MeshpassError('store_unavailable', 'The store does not answer.');
      await journal.write(entry);
      if (isEnd) ends.stored++;
    };
    return { ...journal, write };
  };
  return { ...real, createJournal };
});

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
beforeEach(() => {
  Object.assign(ends, { lost: 0, stored: 0 });
  harness.mesh.setOperators(operatorsByGroup({ confirm: 300 }));
});
afterAll(() => harness?.stop());

const path = '/operator/session';
const codeOf = async (who: SignedIn) => (await asOperator(harness, who, { path })).json.error_code ?? 'signed in';
const withoutAdmins = () => {
  const { roles } = operatorsByGroup();
  harness.mesh.setOperators(operatorsByGroup({ confirm: 300, roles: { ...roles, admin: [] } }));
};
const endOf = async (subject: string) => {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await harness.operatorCall({ path: '/audit?last=100', headers });
  return json.rows.find(
    (row: { action: string; outcome: string; detail: string | null }) =>
      row.action === 'operator.sign-out' && row.outcome === 'ended' && JSON.stringify(row).includes(subject),
  );
};

/** Ways in which a session ends, each with what is answered where the store does not take the end. */
const ways: readonly [string, string, (who: SignedIn, name: string) => Promise<unknown>][] = [
  [
    'the access file takes the last role',
    'operator_session_ended',
    async (who) => {
      withoutAdmins();
      return await codeOf(who);
    },
  ],
  [
    'the issuer takes the last role',
    'operator_no_role',
    async (who, name) =>
      (await confirmSignIn(harness, who, refreshedIdToken(harness, name, ['everyone']))).json.error_code,
  ],
  [
    'its operator signs out',
    'store_unavailable',
    async (who) => (await asOperator(harness, who, { method: 'DELETE', path })).json.error_code,
  ],
  [
    'another operator closes it',
    'store_unavailable',
    async (who) => {
      const body = JSON.stringify({ subject: who.subject, reason: 'left' });
      const close = { method: 'POST', path: '/operator/sessions/close', body };
      return (await asOperator(harness, await signIn(harness, 'other', ['admin']), close)).json.error_code;
    },
  ],
];

it.each(ways)('is refused from then on, and stored once the store answers, where %s', async (way, code, end) => {
  const name = `ended-${ways.findIndex(([one]) => one === way)}`;
  const who = await signIn(harness, name, ['admin']);
  ends.lost = 1_000;
  expect(await end(who, name)).toBe(code);
  expect(ends.stored).toBe(0);
  ends.lost = 0;
  harness.mesh.setOperators(operatorsByGroup({ confirm: 300 }));
  expect(await codeOf(who)).toBe('operator_session_ended');
  await expect.poll(() => ends.stored, { timeout: 5_000 }).toBe(1);
  expect(await endOf(name)).toMatchObject({ outcome: 'ended', reason: expect.stringMatching(/role|signed out|left/) });
  await harness.restart();
  expect(await codeOf(who)).toBe('operator_session_ended');
});

it('is asked of the access file again at a broker that takes over before the store has it', async () => {
  const who = await signIn(harness, 'lost-in-file', ['admin']);
  ends.lost = 1_000;
  withoutAdmins();
  expect(await codeOf(who)).toBe('operator_session_ended');
  await harness.restart();
  ends.lost = 0;
  expect(await codeOf(who)).toBe('operator_session_ended');
  await expect.poll(() => ends.stored, { timeout: 5_000 }).toBe(1);
  harness.mesh.setOperators(operatorsByGroup({ confirm: 300 }));
  expect(await codeOf(who)).toBe('operator_session_ended');
});

it('counts there for the rest of operators.confirm at most, where the issuer took the role', async () => {
  const who = await signIn(harness, 'lost-at-issuer', ['admin']);
  harness.clockAhead += 200_000;
  ends.lost = 1_000;
  const taken = () => confirmSignIn(harness, who, refreshedIdToken(harness, 'lost-at-issuer', ['everyone']));
  expect((await taken()).json.error_code).toBe('operator_no_role');
  await harness.restart();
  ends.lost = 0;
  expect(await codeOf(who)).toBe('signed in');
  harness.clockAhead += 101_000;
  expect(await codeOf(who)).toBe('operator_unconfirmed');
  expect((await taken()).json.error_code).toBe('operator_no_role');
  expect(await codeOf(who)).toBe('operator_session_ended');
});

it('has one row where two requests find the role gone at the same time', () => {
  const written: Entry[] = [];
  const here = new Set(['one']);
  const context = {
    ...{ clock: Date.now, random: randomBytes, onFailure: () => {} },
    journal: { write: async (entry: Entry) => void written.push(entry), flush: async () => {} },
    sessions: { remove: (id: string) => here.delete(id) } as unknown as OperatorSessions,
  };
  const session = { id: 'one', subject: 'idp:one', login: 'one', issuer: 'idp' } as OperatorSession;
  endForLostRole(context, session);
  endForLostRole(context, session);
  expect(written).toMatchObject([{ operatorsClosed: [{ id: 'one', close_cause: 'role_lost' }], audit: [{}] }]);
});
