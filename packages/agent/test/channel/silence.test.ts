/** A channel without an edge says so in time, whatever happens to the workspace's clock. */
import { afterEach, expect, test, vi } from 'vitest';
import { type ChannelEvent, openChannel } from '../../src/channel/channel.ts';
import { newDpopKey } from '../../src/session/enrol.ts';

const HOUR = 3_600_000;

afterEach(() => vi.useRealTimers());

test.each([
  ['goes on', 0],
  ['is set back by an hour', -HOUR],
])('silence is told where the clock %s', async (_, change) => {
  vi.useFakeTimers();
  let shift = 0;
  const events: ChannelEvent[] = [];
  const channel = openChannel({
    ...{ edges: () => [], secureContext: () => undefined, statementKeys: () => [], configuration: () => undefined },
    ...{ sessionId: 'session', key: newDpopKey(), heartbeatMs: 15_000, silentMs: 22_500 },
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
