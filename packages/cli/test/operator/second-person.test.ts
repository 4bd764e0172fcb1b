/** The commands of two operators, where the access file wants a second person: against a real broker. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Harness, onRealClock, PUBLIC_URL, startHarness } from '../../../broker/test/harness/broker.ts';
import { grant } from '../../../broker/test/harness/mesh.ts';
import { operatorsByGroup, signIn } from '../../../broker/test/harness/operators.ts';
import { writeOperatorSession } from '../../src/login/session-file.ts';
import { meshpass, ownState } from '../login/world.ts';

let harness: Harness;
let operator: string;
beforeAll(async () => {
  harness = await startHarness();
  await onRealClock(harness);
  harness.mesh.setAccess([grant('dev')]);
  harness.mesh.setOperators(operatorsByGroup({ secondPerson: ['sessions.close-all'] }));
  operator = `http://127.0.0.1:${harness.broker.operatorPort}`;
});
afterAll(() => harness?.stop());
const stateOf = ownState(() => operator);

/** Signs in, and has what follows be made by this person. */
async function become(subject: string): Promise<() => void> {
  const { token, key } = await signIn(harness, subject, ['admin']);
  const folder = join(stateOf(), subject);
  const expiresAt = harness.now() + 3600;
  writeOperatorSession(
    operator,
    { broker: PUBLIC_URL, token, key: key.privateKey, expiresAt },
    { MESHPASS_STATE_DIR: folder },
  );
  return () => void vi.stubEnv('MESHPASS_STATE_DIR', folder);
}

it('one asks and is told that it waits, the other sees what it is, confirms, and it runs', async () => {
  const [asAda, asOlga] = [await become('ada'), await become('olga')];
  asAda();
  const asked = await meshpass('sessions', 'close', '--all', '--yes', '--reason', 'a leak');
  expect(asked.code).toBe(1);
  const id = /meshpass operators confirm (\S+)/.exec(asked.err)?.[1];
  expect(id, asked.err).toMatch(/^[0-9a-f-]{36}/);
  const own = await meshpass('operators', 'confirm', id!);
  expect([own.code, own.err]).toEqual([1, expect.stringContaining('approval_own')]);
  asOlga();
  const listed = await meshpass('operators', 'confirmations');
  expect(listed.out).toContain(`${id}  sessions.close-all`);
  expect(listed.out).toContain('ada (idp:ada) asks: a leak');
  const other = await meshpass('operators', 'confirm', id!, '--digest', 'a'.repeat(64));
  expect([other.code, other.err]).toEqual([1, expect.stringContaining('confirmation_void')]);
  const done = await meshpass('operators', 'confirm', id!, '--output', 'json');
  expect(done.code, done.err).toBe(0);
  expect(JSON.parse(done.out)).toEqual({ confirmed: 'sessions.close-all', result: { closed: [], denied: [] } });
  expect((await meshpass('operators', 'confirmations')).out).toBe('Nothing waits for a second person.');
});

it('one asks and withdraws it, and nobody can confirm it any more', async () => {
  const [asAda, asOlga] = [await become('ada'), await become('olga')];
  asAda();
  const asked = await meshpass('sessions', 'close', '--all', '--yes', '--reason', 'a leak');
  const id = /meshpass operators confirm (\S+)/.exec(asked.err)![1]!;
  const done = await meshpass('operators', 'withdraw', id, '--reason', 'a false alarm');
  expect([done.code, done.out]).toEqual([0, 'Withdrawn: sessions.close-all does not run.']);
  const again = await meshpass('operators', 'withdraw', id, '--output', 'json');
  expect([again.code, again.err]).toEqual([1, expect.stringContaining('confirmation_unknown')]);
  asOlga();
  expect((await meshpass('operators', 'confirm', id)).err).toContain('confirmation_unknown');
});
