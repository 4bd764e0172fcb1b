/** A channel without an edge, which must report so in time regardless of changes to the workspace's clock. */
import { afterEach, expect, test, vi } from 'vitest';
import { type ChannelEvent, openChannel } from '../../src/channel/channel.ts';
import { generateDpopKey } from '../../src/session/enrol.ts';
import { createStatementVerifier } from '../../src/statements/statement-verifier.ts';

const HOUR = 3_600_000;

afterEach(() => vi.useRealTimers());

test.each([
  ['goes on', 0],
  ['is set back by an hour', -HOUR],
])('reports silence if the clock %s', async (_, change) => {
  vi.useFakeTimers();
  let shift = 0;
  const events: ChannelEvent[] = [];
  const channel = openChannel({
    edge: () => ({ host: 'localhost', port: 9 }),
    secureContext: () => undefined,
    received: createStatementVerifier({ sessionId: 'session', keys: () => [] }),
    sessionId: 'session',
    key: generateDpopKey(),
    heartbeatMs: 15_000,
    silentMs: 22_500,
    onEvent: (event) => events.push(event),
    clock: () => Date.now() + shift,
  });
  await vi.advanceTimersByTimeAsync(10_000);
  shift = change;
  await vi.advanceTimersByTimeAsync(12_000);
  expect(events).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(events).toEqual([{ type: 'silent' }]);
  await channel.close();
});
