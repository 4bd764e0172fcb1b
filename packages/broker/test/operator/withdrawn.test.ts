/** A withdrawal, or a confirmation, that the store does not take, or takes without saying so. */
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { Entry, Journal } from '../../src/audit/log/journal.ts';
import { type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, operatorsByGroup, type SignedIn, signIn } from '../harness/operators.ts';

type Fate = 'written' | 'lost' | 'unanswered';
/** What becomes of the end of what waits. */
const fate = vi.hoisted(() => ({ ofEnd: 'written' as Fate }));
vi.mock('../../src/audit/log/journal.ts', async (original) => {
  const real = await original<typeof import('../../src/audit/log/journal.ts')>();
  const createJournal = (options: Parameters<typeof real.createJournal>[0]): Journal => {
    const journal = real.createJournal(options);
    const write = async (entry: Entry) => {
      const now = entry.confirmed ? fate.ofEnd : 'written';
      if (now !== 'lost') await journal.write(entry);
      if (now !== 'written') throw new MeshpassError('store_unavailable', 'The store does not answer.');
    };
    return { ...journal, write };
  };
  return { ...real, createJournal };
});

let harness: Harness;
let ada: SignedIn;
let olga: SignedIn;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
  harness.mesh.setOperators(operatorsByGroup({ secondPerson: ['sessions.close-all'] }));
});
beforeEach(async () => {
  fate.ofEnd = 'written';
  harness.clockAhead += 16 * 60_000;
  ada = await signIn(harness, 'ada', ['admin']);
  olga = await signIn(harness, 'olga', ['security-officer']);
});
afterAll(() => harness?.stop());

const post = (path: string, body: object) => ({ method: 'POST', path, body: JSON.stringify(body) });
const ask = async (): Promise<{ id: string; digest: string }> =>
  (await asOperator(harness, ada, post('/admin/sessions/close', { all: true, reason: 'a leak' }))).json.confirmation;
const withdraw = async (id: string) => {
  const { status, json } = await asOperator(harness, ada, post('/operator/confirmations/withdraw', { id }));
  return json.error_code ?? status;
};
const confirm = async ({ id, digest }: { id: string; digest: string }) => {
  const { status, json } = await asOperator(harness, olga, post('/operator/confirmations/confirm', { id, digest }));
  return json.error_code ?? status;
};
const waiting = async () =>
  (await asOperator(harness, ada, { path: '/operator/confirmations' })).json.confirmations.map(
    ({ id }: { id: string }) => id,
  );

it('a withdrawal that the store did not take leaves it waiting, and is made again', async () => {
  await session(harness, 'alice');
  const asked = await ask();
  fate.ofEnd = 'lost';
  expect(await withdraw(asked.id)).toBe('store_unavailable');
  expect(await waiting()).toEqual([asked.id]);
  fate.ofEnd = 'written';
  expect(await withdraw(asked.id)).toBe(200);
  await harness.restart();
  expect(await waiting()).toEqual([]);
  expect(await confirm(asked)).toBe('confirmation_unknown');
});

it('a withdrawal that the store took without saying so is over', async () => {
  const asked = await ask();
  fate.ofEnd = 'unanswered';
  expect(await withdraw(asked.id)).toBe('store_unavailable');
  fate.ofEnd = 'written';
  expect(await waiting()).toEqual([]);
  expect(await withdraw(asked.id)).toBe('confirmation_unknown');
  expect(await confirm(asked)).toBe('confirmation_unknown');
});

it('a confirmation that the store did not take runs nothing, and a withdrawal does not make it wait again', async () => {
  const asked = await ask();
  fate.ofEnd = 'lost';
  expect(await confirm(asked)).toBe('store_unavailable');
  expect(await withdraw(asked.id)).toBe('confirmation_unknown');
  fate.ofEnd = 'written';
  expect(await waiting()).toEqual([]);
  expect(await confirm(asked)).toBe('confirmation_unknown');
});
