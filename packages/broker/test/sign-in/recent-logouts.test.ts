/** List of logouts and ended operator sessions: its matches, its period, and its limit. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { uuidv7 } from '../../src/base/clock/clock.ts';
import { createRecentLogouts, MAX_RECENT_LOGOUTS, readStoredLogouts } from '../../src/core/sign-in/recent-logouts.ts';
import { openStore } from '../../src/store/open.ts';
import { releaseStore, reusedStore } from '../harness/store/engines.ts';

const HOUR = 3_600_000;
const NOON = Date.UTC(2026, 0, 1, 12);
const signed = { issuer: 'idp', subject: 'idp:mona', confirmedAt: NOON / 1000 };
const isClosed = ({ isOver }: ReturnType<typeof createRecentLogouts>, id: string) =>
  isOver({ id, subject: 'idp:nobody', openedAt: Number.MAX_SAFE_INTEGER });
const open = (openedAt: number) => ({ id: 'one', subject: 'idp:mona', openedAt, signed });

it('ends the sessions that a subject opened until then, and no later one', () => {
  let now = NOON;
  const list = createRecentLogouts(() => now);
  list.close({ sessions: [], subject: 'idp:mona' });
  now += 1;
  expect([list.isOver(open(NOON)), list.isOver(open(now))]).toEqual([true, false]);
  expect(list.isOver({ ...open(NOON), subject: 'idp:olga' })).toBe(false);
});

it('ends the sessions of a logout at the issuer, whatever ID token has renewed them since', () => {
  let now = NOON;
  const list = createRecentLogouts(() => now);
  list.remember({ issuer: 'idp', subject: 'idp:mona', at: NOON / 1000 });
  now += HOUR;
  const renewed = { ...signed, confirmedAt: now / 1000 };
  expect([list.find(renewed), list.isOver({ ...open(NOON - 1), signed: renewed })]).toEqual([undefined, true]);
  expect(list.isOver({ ...open(now), signed: renewed })).toBe(false);
});

it('keeps an end for as long as the longest session, and reports whether it is new', () => {
  let now = NOON;
  const list = createRecentLogouts(() => now);
  expect([list.close({ sessions: ['one'] }), list.close({ sessions: ['one'] })]).toEqual([true, false]);
  now += 12 * HOUR;
  expect([isClosed(list, 'one'), list.isOver(open(NOON))]).toEqual([true, true]);
  now += HOUR;
  expect([list.isOver(open(now)), list.incompleteUntil()]).toEqual([false, 0]);
});

it('refuses sessions that are older than an entry that the full list has dropped', () => {
  let now = NOON;
  const list = createRecentLogouts(() => now);
  for (let n = 0; n <= MAX_RECENT_LOGOUTS; n++) {
    now += 1;
    list.close({ sessions: [`other-${n}`] });
  }
  expect(isClosed(list, 'other-0')).toBe(false);
  expect([list.isOver(open(NOON)), list.isOver(open(NOON + 1)), list.isOver(open(NOON + 2))]).toEqual([
    true,
    true,
    false,
  ]);
  expect(list.incompleteUntil()).toBe(NOON + 1);
});

it('is read from the audit log, which lacks entries up to a declared restore', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'meshpass-logouts-'));
  const store = await openStore(await reusedStore(dataDir));
  onTestFinished(async () => {
    await store.close();
    await releaseStore(dataDir);
    rmSync(dataDir, { recursive: true });
  });
  let seq = 0;
  const write = async (hour: number, action: string, outcome: string, detail: object, who: (string | null)[]) => {
    const at = NOON + hour * HOUR;
    const id = uuidv7(() => at, Buffer.alloc);
    seq += 1;
    await sql`insert into audit (seq, previous, hash, id, time, action, outcome, reason, issuer, subject, detail)
      values (${seq}, '', '', ${id}, ${new Date(at)}, ${action}, ${outcome}, '', ${who[0]}, ${who[1]}, ${JSON.stringify(detail)})`.execute(
      store.db,
    );
  };
  const nobody = [null, null];
  await write(-13, 'operator.sign-out', 'allowed', { closed: ['forgotten'] }, nobody);
  await write(-6, 'operator.sign-out', 'refused', { closed: ['refused'] }, nobody);
  await write(-5, 'operator.sign-out', 'ended', { closed: ['one', 'two'] }, nobody);
  await write(-4, 'operator.sign-out', 'allowed', { closed: [], closed_subject: 'idp:olga' }, nobody);
  await write(-3, 'sign_in.logout', 'allowed', { sid: 's', signed_out_at: NOON / 1000 - 3 * 3_600 }, [
    'idp',
    'idp:mona',
  ]);
  const read = async () => createRecentLogouts(() => NOON, await readStoredLogouts(store, () => NOON));
  const list = await read();
  expect(['one', 'two', 'refused', 'forgotten'].map((id) => isClosed(list, id))).toEqual([true, true, false, false]);
  const olga = (hour: number) => ({ id: 'x', subject: 'idp:olga', openedAt: NOON + hour * HOUR });
  expect([list.isOver(olga(-4.1)), list.isOver(olga(-3.9))]).toEqual([true, false]);
  const mona = { id: 'y', subject: 'idp:mona', openedAt: NOON - 3.1 * HOUR, signed: { ...signed, sid: 's' } };
  expect([list.isOver(mona), list.find({ ...signed, sid: 's' })?.sid, list.incompleteUntil()]).toEqual([true, 's', 0]);
  await write(-2, 'audit.restore', 'allowed', {}, nobody);
  const restored = await read();
  expect([restored.isOver(olga(-2.1)), restored.isOver(olga(-1.9))]).toEqual([true, false]);
});
