/** `GET /session/configuration` while there is none yet: the request waits, and for what the session holds by then. */

import { EventEmitter } from 'node:events';
import type { Announcement } from '@meshpass/broker/core/channel/configurations';
import { configurationRoutes } from '@meshpass/broker/core/routes/configuration';
import type { SessionContext } from '@meshpass/broker/core/session/context';
import { narrowSession } from '@meshpass/broker/core/session/lifecycle';
import type { Live } from '@meshpass/broker/core/session/live';
import type { MeshpassError } from '@meshpass/identity';
import { expect, test } from 'vitest';

const HELD = [
  { grant: 'dev', until: 2_000_000_000 },
  { grant: 'ops', until: 2_000_000_000 },
];

/** A session of two grants that asks, and is willing to wait. */
function asking() {
  const held = new Map<string, Announcement>();
  const listeners = new Set<() => void>();
  const set = (key: string, version: number) => {
    const content = Buffer.from('{}');
    held.set(key, { set: key, version, digest: '', statement: `header ${version}`, content });
    for (const listener of listeners) listener();
  };
  const session = { id: 'ses', principals: HELD, attestation: { workspace: {} } };
  const live = { session, abort: new AbortController(), svids: new Map() } as unknown as Live;
  const control = {
    announced: ({ principals }: Live['session']) => held.get(principals.map(({ grant }) => grant).join(',')),
    onConfiguration: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const [route] = configurationRoutes({ control }, async () => {
    throw new Error('not asked');
  });
  const ask = async () => {
    const request = { headers: { prefer: 'wait=20' }, socket: new EventEmitter() };
    const call = { caller: { live }, event: {}, request, response: new EventEmitter() };
    const answer = await route!.handler(call as never).catch((thrown: unknown) => thrown);
    if (!(answer instanceof Response)) return (answer as MeshpassError).code;
    const { status, headers: answered } = answer;
    return `${status} ${answered.get('meshpass-configuration')}`;
  };
  return { ask, set, live, isWaiting: () => live.waiting !== undefined };
}

test('it is answered as soon as there is one', async () => {
  const { ask, set, isWaiting } = asking();
  const answer = ask();
  await expect.poll(isWaiting).toBe(true);
  set('dev,ops', 5);
  expect(await answer).toBe('200 header 5');
  expect(isWaiting()).toBe(false);
});

test('it does not wait for what came, or for a session that ended, before it listened', async () => {
  const [one, ended] = [asking(), asking()];
  const answers = [one.ask(), ended.ask()];
  one.set('dev,ops', 5);
  Object.assign(ended.live, { ended: { cause: 'operator', at: 0 } }).abort.abort();
  await new Promise(setImmediate);
  expect([one.isWaiting(), ended.isWaiting()]).toEqual([false, false]);
  expect(await Promise.all(answers)).toEqual(['200 header 5', 'session_closed']);
});

test('returns the configuration of the remaining grants if one was lost while it waited', async () => {
  const { ask, set, live, isWaiting } = asking();
  set('dev', 7);
  const answer = ask();
  await expect.poll(isWaiting).toBe(true);
  const context = {
    denies: () => false,
    clock: Date.now,
    random: () => 'id',
    feed: { admit: () => {} },
    revocations: { add: () => {} },
  };
  // There is no store, and who waits does not wait for it.
  await narrowSession(context as unknown as SessionContext, live, new Map([['dev', 2_000_000_000]]), {
    cause: 'access_removed',
    reason: 'it is gone',
  }).catch(() => {});
  expect(await answer).toBe('200 header 7');
});

test('a newer request takes the place of the one that waits', async () => {
  const { ask, set, isWaiting } = asking();
  const first = ask();
  await expect.poll(isWaiting).toBe(true);
  const second = ask();
  expect(await first).toBe('503 null');
  set('dev,ops', 5);
  expect(await second).toBe('200 header 5');
});

test('the end of the session ends the wait', async () => {
  const { ask, live, isWaiting } = asking();
  const answer = ask();
  await expect.poll(isWaiting).toBe(true);
  live.ended = { cause: 'operator', at: 0 };
  live.abort.abort();
  expect(await answer).toBe('session_closed');
});
