/** An edge reports the tunnels that it is about to end. The broker notifies other edges that know the event. */
import { Agent, request } from 'node:https';
import { CONTROL_HEADER } from '@meshpass/identity/channel';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

let harness: Harness;
const following: { destroy(): void }[] = [];
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
afterEach(() => {
  for (const one of following.splice(0)) one.destroy();
});
afterAll(() => harness.stop());

/** Starts an edge that follows the feed. @param control requested version of the control channel */
async function follow(control: string): Promise<{ type: string; sessions?: unknown }[]> {
  const events: { type: string }[] = [];
  const agent = new Agent({ rejectUnauthorized: false });
  const headers = { authorization: 'Bearer edge-token', [CONTROL_HEADER]: control };
  const sent = request({ host: '127.0.0.1', port: harness.broker.port, path: '/edge/stream', headers, agent });
  following.push(sent);
  sent.on('error', () => {});
  sent.on('response', (response) => {
    response.on('error', () => {});
    let text = '';
    response.on('data', (chunk: Buffer) => {
      const lines = `${text}${chunk}`.split('\n');
      text = lines.pop()!;
      for (const line of lines) events.push(JSON.parse(line));
    });
  });
  sent.end();
  await expect.poll(() => events[0]?.type).toBe('snapshot');
  return events;
}

function say(sessions: readonly object[], token = 'edge-token') {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return harness.call({ method: 'POST', path: '/edge/draining', headers, body: JSON.stringify({ sessions }) });
}

const heard = (events: readonly { type: string }[]) => events.filter(({ type }) => type === 'draining');

it('edges that request notices, even of a later version, get those of live sessions, and an older edge gets none', async () => {
  const alice = await session(harness, 'alice');
  const [present, newer, older] = [await follow('2'), await follow('3'), await follow('1')];
  const of = (session_id: string) => ({ session_id, newest_ms: 1_200 });
  expect((await say([of('nobody'), of(alice.session.id)])).status).toBe(204);
  for (const events of [present, newer])
    await expect.poll(() => heard(events)).toEqual([{ type: 'draining', sessions: [of(alice.session.id)] }]);
  // The broker beats every two seconds: what came before that came.
  await expect.poll(() => older.filter(({ type }) => type === 'beat').length).toBeGreaterThan(0);
  expect(heard(older)).toEqual([]);
});

it('a session that is named many times is passed on once', async () => {
  const carol = await session(harness, 'carol');
  const events = await follow('2');
  const named = Array.from({ length: 500 }, () => ({ session_id: carol.session.id, newest_ms: 7 }));
  expect((await say(named)).status).toBe(204);
  await expect.poll(() => heard(events)).toEqual([{ type: 'draining', sessions: [named[0]] }]);
});

it.each([
  ['an age that is none', [{ session_id: 'x', newest_ms: -1 }]],
  ['more sessions than one request may name', Array.from({ length: 501 }, () => ({ session_id: 'x', newest_ms: 1 }))],
])('refuses %s', async (_what, sessions) => {
  expect(await say(sessions)).toMatchObject({ status: 400 });
});

it('an edge that reports it without end is forwarded only now and then', async () => {
  const { id } = (await session(harness, 'bob')).session;
  const events = await follow('2');
  const asked = 120;
  for (let n = 0; n < asked; n++) expect((await say([{ session_id: id, newest_ms: 0 }])).status).toBe(204);
  await expect.poll(() => heard(events).length).toBeGreaterThan(0);
  expect(heard(events).length).toBeLessThan(asked);
  // Nor does another edge at its address go unheard for that.
  const dave = await session(harness, 'dave');
  const of = { session_id: dave.session.id, newest_ms: 9 };
  expect((await say([of], 'another-edge-token')).status).toBe(204);
  await expect.poll(() => heard(events).at(-1)).toEqual({ type: 'draining', sessions: [of] });
});
