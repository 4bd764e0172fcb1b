/** Ends of operators' sessions that the store does not accept at once: this broker refuses the session immediately, the next broker soon. */
import { randomBytes } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { OperatorSession } from '../../src/admin/operator/caller.ts';
import { endSessionForLostRole } from '../../src/admin/operator/end-sessions.ts';
import { createOperatorSessions } from '../../src/admin/operator/sessions.ts';
import type { Unit } from '../../src/audit/log/unit.ts';
import { createRecentLogouts } from '../../src/core/sign-in/recent-logouts.ts';
import { type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { journalVia, playJournal } from '../harness/journal.ts';
import { grant } from '../harness/mesh.ts';
import {
  asOperator,
  codeOf,
  confirmSignIn,
  operatorsByGroup,
  refreshedIdToken,
  type SignedIn,
  signIn,
} from '../harness/operators.ts';

/** Ends that the store will still fail to accept, and ends that it has accepted. */
const ends = vi.hoisted(() => ({ lost: 0, stored: 0 }));
vi.mock('../../src/audit/log/journal.ts', async (original) => {
  const real = await original<typeof import('../../src/audit/log/journal.ts')>();
  const createJournal = (options: Parameters<typeof real.createJournal>[0]) =>
    journalVia(real.createJournal(options), async (unit, write) => {
      const isEnd = unit.audit.some(({ action, outcome }) => action === 'operator.sign-out' && outcome !== 'refused');
      if (isEnd && ends.lost-- > 0) throw new MeshpassError('store_unavailable', 'The store does not answer.');
      await write();
      if (isEnd) ends.stored++;
    });
  return { ...real, createJournal };
});

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
beforeEach(() => {
  Object.assign(ends, { lost: 0, stored: 0 });
  harness.mesh.setOperators(operatorsByGroup());
});
afterAll(() => harness?.stop());

const path = '/operator/session';
const withoutAdmins = () => {
  const { roles } = operatorsByGroup();
  harness.mesh.setOperators(operatorsByGroup({ roles: { ...roles, admin: [] } }));
};
const endOf = async (subject: string) => {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await harness.operatorCall({ path: '/audit?last=100', headers });
  return json.rows.find(
    (row: { action: string; outcome: string; detail: string | null }) =>
      row.action === 'operator.sign-out' && row.outcome === 'ended' && JSON.stringify(row).includes(subject),
  );
};

/** Ways in which a session ends, each with the error code if the store does not accept the end. */
const ways: readonly [string, string, (who: SignedIn, name: string) => Promise<unknown>][] = [
  [
    'the access file takes the last role',
    'operator_session_ended',
    async (who) => {
      withoutAdmins();
      return await codeOf(harness, who);
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
  harness.mesh.setOperators(operatorsByGroup());
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
  await expect.poll(() => ends.stored).toBe(1);
  expect(await endOf(name)).toMatchObject({ outcome: 'ended', reason: expect.stringMatching(/role|signed out|left/) });
  await harness.restart();
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
});

it('is decided by the access file again if a broker takes over before the store has it', async () => {
  const who = await signIn(harness, 'lost-in-file', ['admin']);
  ends.lost = 1_000;
  withoutAdmins();
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
  await harness.restart();
  ends.lost = 0;
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
  await expect.poll(() => ends.stored).toBe(1);
  harness.mesh.setOperators(operatorsByGroup());
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
});

it('counts there for the rest of five minutes at most, where the issuer took the role', async () => {
  const who = await signIn(harness, 'lost-at-issuer', ['admin']);
  harness.clockAhead += 200_000;
  ends.lost = 1_000;
  const taken = () => confirmSignIn(harness, who, refreshedIdToken(harness, 'lost-at-issuer', ['everyone']));
  expect((await taken()).json.error_code).toBe('operator_no_role');
  await harness.restart();
  ends.lost = 0;
  expect(await codeOf(harness, who)).toBe('signed in');
  harness.clockAhead += 101_000;
  expect(await codeOf(harness, who)).toBe('operator_unconfirmed');
  expect((await taken()).json.error_code).toBe('operator_no_role');
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
});

it('has one row if two requests find the role lost at the same time', () => {
  const written: Unit[] = [];
  const context = {
    clock: Date.now,
    random: randomBytes,
    onFailure: () => {},
    audit: { journal: playJournal(async (unit) => void written.push(unit)), clock: Date.now, observe: () => {} },
    operatorSessions: createOperatorSessions(Date.now, createRecentLogouts(Date.now)),
  };
  const session = { id: 'one', subject: 'idp:one', login: 'one', issuer: 'idp' } as OperatorSession;
  endSessionForLostRole(context, session);
  endSessionForLostRole(context, session);
  expect(written).toMatchObject([{ audit: [{ detail: '{"cause":"role_lost","closed":["one"]}' }] }]);
});
