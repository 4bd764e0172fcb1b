/**
 * Reconnection of a channel: with growing pauses, and once soon after each response of the broker, spread across
 * agents.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openChannel } from '../../src/channel/channel.ts';
import { createReconnectTimer } from '../../src/channel/reconnection.ts';
import { generateDpopKey } from '../../src/session/enrol.ts';
import { createStatementVerifier } from '../../src/statements/statement-verifier.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A channel without any edge. */
function edgeless(random: () => number) {
  const attempts: number[] = [];
  const channel = openChannel({
    edge: () => ({ host: 'localhost', port: 9 }),
    received: createStatementVerifier({ sessionId: 'session', keys: () => [] }),
    onEvent: () => {},
    sessionId: 'session',
    key: generateDpopKey(),
    heartbeatMs: 15_000,
    silentMs: 22_500,
    random,
    secureContext: () => void attempts.push(Date.now()),
  });
  return { attempts, channel };
}

test('makes a single attempt within a second after a response of the broker', async () => {
  const { attempts, channel } = edgeless(() => 0.5);
  // The pauses have grown to 15 s, and one has just begun.
  await vi.advanceTimersByTimeAsync(60_000);
  const before = attempts.length;
  await vi.advanceTimersByTimeAsync(attempts.at(-1)! + 15_001 - Date.now());
  expect(attempts).toHaveLength(before + 1);
  for (let answers = 0; answers < 3; answers++) channel.brokerAnswered();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts).toHaveLength(before + 2);
  // A response says nothing about the edge, so the next pause is as long as before.
  await vi.advanceTimersByTimeAsync(14_000);
  expect(attempts).toHaveLength(before + 2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts).toHaveLength(before + 3);
  await channel.close();
});

test('makes no attempt for a response during another attempt or after the end', async () => {
  const stop = new AbortController();
  const { pause, wake } = createReconnectTimer({ signal: stop.signal, random: () => 0.5 });
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

test('spreads the attempts of agents that received a response at the same time over a second', async () => {
  const AGENTS = 1_000;
  const stop = new AbortController();
  const came: number[] = [];
  const agents = Array.from({ length: AGENTS }, (_, agent) =>
    createReconnectTimer({ signal: stop.signal, random: () => agent / AGENTS }),
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
