import { sha256Base64url } from '@meshpass/identity';
import { expect, it } from 'vitest';
import { createConfigurationCache } from '../../src/control/configuration-cache.ts';
import type { ControlConnection } from '../../src/control/connection.ts';

/** A connection whose agent reads nothing until it is cut. */
function silentConnection() {
  let close = () => {};
  const closed = new Promise<void>((resolve) => {
    close = resolve;
  });
  const state = { isCut: false, received: 0 };
  const connection = {
    wanted: undefined,
    owner: {
      cut() {
        state.isCut = true;
        close();
      },
    },
    send: () => {},
    sendLine(line: Buffer) {
      state.received = line.length;
      return closed;
    },
  } as unknown as ControlConnection;
  return { connection, state };
}

it('disconnects agents that do not read a configuration once others need its memory', async () => {
  const contents = [1, 2, 3, 4].map((byte) => Buffer.alloc(15 * 1024 * 1024, byte));
  const byDigest = new Map(contents.map((content) => [sha256Base64url(content), content]));
  const failures: unknown[] = [];
  const cache = createConfigurationCache(
    async ({ digest }) => byDigest.get(digest)!,
    (cause) => failures.push(cause),
  );
  const readers = [];
  for (const digest of byDigest.keys()) {
    const reader = silentConnection();
    readers.push(reader);
    void cache.give(reader.connection, { set: `set of ${digest}`, digest });
    await expect.poll(() => reader.state.received).toBeGreaterThan(0);
  }
  // Each frame has a third more bytes than its content, so that three of them do not exceed 64 MiB, and four do.
  expect(readers.map(({ state }) => state.isCut)).toEqual([true, false, false, false]);
  // The configuration that was evicted is fetched again for the next agent.
  const again = silentConnection();
  void cache.give(again.connection, { set: 'again', digest: [...byDigest.keys()][0]! });
  await expect.poll(() => again.state.received).toBeGreaterThan(0);
  expect(readers.map(({ state }) => state.isCut)).toEqual([true, true, false, false]);
  expect(failures).toEqual([]);
  for (const { connection } of [...readers, again]) connection.owner.cut();
});
