/** A channel without a connection is tried ever later, and soon after each answer of the broker: once, and not by all at one moment. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openChannel } from '../../src/channel/channel.ts';
import { createReconnection } from '../../src/channel/reconnection.ts';
import { newDpopKey } from '../../src/session/enrol.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A channel that finds no edge. */
function edgeless(random: () => number) {
  const attempts: number[] = [];
  const channel = openChannel({
    ...{ edges: () => [], statementKeys: () => [], configuration: () => undefined, onEvent: () => {} },
    ...{ sessionId: 'session', key: newDpopKey(), heartbeatMs: 15_000, silentMs: 22_500, random },
    secureContext: () => void attempts.push(Date.now()),
  });
  return { attempts, channel };
}

test('an answer of the broker brings the next attempt within a second, and one attempt only', async () => {
  const { attempts, channel } = edgeless(() => 0.5);
  // The pauses are 15 s by now, and one has just begun.
  await vi.advanceTimersByTimeAsync(60_000);
  const before = attempts.length;
  await vi.advanceTimersByTimeAsync(attempts.at(-1)! + 15_001 - Date.now());
  expect(attempts).toHaveLength(before + 1);
  for (let answers = 0; answers < 3; answers++) channel.brokerAnswered();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts).toHaveLength(before + 2);
  // An answer says nothing of the edge: the pause that follows is as long as before.
  await vi.advanceTimersByTimeAsync(14_000);
  expect(attempts).toHaveLength(before + 2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts).toHaveLength(before + 3);
  await channel.close();
});

test('an answer that comes while an attempt is under way, or after the end, brings none', async () => {
  const stop = new AbortController();
  const { pause, wake } = createReconnection({ signal: stop.signal, random: () => 0.5 });
  wake();
  let over = false;
  const waiting = pause(true).then(() => {
    over = true;
  });
  await vi.advanceTimersByTimeAsync(249);
  expect(over).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(over).toBe(true);
  await waiting;
  stop.abort();
  await pause(false);
  wake();
  expect(vi.getTimerCount()).toBe(0);
});

test('agents that have their answer in the same moment come spread over a second', async () => {
  const AGENTS = 1_000;
  const stop = new AbortController();
  const came: number[] = [];
  const agents = Array.from({ length: AGENTS }, (_, agent) =>
    createReconnection({ signal: stop.signal, random: () => agent / AGENTS }),
  );
  for (const { pause } of agents) {
    void (async () => {
      while (!stop.signal.aborted) {
        await pause(false);
        came.push(Date.now());
      }
    })();
  }
  await vi.advanceTimersByTimeAsync(60_000);
  came.length = 0;
  const answered = Date.now();
  for (const { wake } of agents) wake();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(came).toHaveLength(AGENTS);
  const inTenths = came.map((at) => Math.floor((at - answered) / 100));
  for (let tenth = 0; tenth < 10; tenth++) {
    expect(inTenths.filter((one) => one === tenth).length).toBeLessThan(AGENTS / 5);
  }
  stop.abort();
});
