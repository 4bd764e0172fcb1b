/**
 * Caches configuration frames by digest, so that each configuration is only fetched once for all sessions with the same
 * grant set.
 */

import { sha256Base64url } from '@meshpass/identity';
import { formatFrame, MAX_ANNOUNCED_CONFIGURATION_BYTES } from '@meshpass/identity/channel';
import type { AnnouncedConfiguration, ControlConnection } from './connection.ts';

/**
 * The maximum total size of all cached frames, in bytes. The newest frame is kept regardless of its size. The cache
 * includes every frame that an agent is currently reading. If such a frame is evicted, its readers are disconnected and
 * have to request their configuration again.
 */
const MAX_KEPT = 64 * 1024 * 1024;

/**
 * Creates a cache of configuration frames.
 * @param fetch requests a configuration from the broker
 */
export function createConfigurationCache(
  fetch: (announced: AnnouncedConfiguration) => Promise<Buffer>,
  onFailure: (cause: unknown) => void,
) {
  const kept = new Map<string, Promise<Buffer>>();
  const sizes = new Map<string, number>();
  const readers = new Map<string, Set<ControlConnection>>();
  return {
    /**
     * Sends a configuration over a connection as soon as the previous one has been sent. If another request is still
     * waiting, the newer one replaces it.
     */
    async give(connection: ControlConnection, announced: AnnouncedConfiguration) {
      const isServed = connection.wanted !== undefined;
      connection.wanted = announced;
      if (isServed) return;
      for (let sent: AnnouncedConfiguration | undefined; connection.wanted !== sent; ) {
        sent = connection.wanted;
        await send(connection, sent);
      }
      connection.wanted = undefined;
    },
  };

  async function send(connection: ControlConnection, announced: AnnouncedConfiguration): Promise<void> {
    const { digest } = announced;
    try {
      const line = await lineOf(announced);
      readers.set(digest, (readers.get(digest) ?? new Set()).add(connection));
      await connection.sendLine(line);
    } catch (cause) {
      onFailure(cause);
      connection.send({ type: 'refused', error_code: 'configuration_unavailable' });
    } finally {
      const others = readers.get(digest);
      if (others?.delete(connection) && others.size === 0) readers.delete(digest);
    }
  }

  function lineOf(announced: AnnouncedConfiguration): Promise<Buffer> {
    const { digest } = announced;
    const found = kept.get(digest) ?? load(announced);
    kept.delete(digest);
    kept.set(digest, found);
    return found;
  }

  async function load(announced: AnnouncedConfiguration): Promise<Buffer> {
    const { digest } = announced;
    try {
      const content = await fetch(announced);
      // The agent verifies the digest as well. This check protects the cache.
      if (content.length > MAX_ANNOUNCED_CONFIGURATION_BYTES || sha256Base64url(content) !== digest) {
        throw new Error('the broker sent a configuration other than the announced one');
      }
      const line = Buffer.from(formatFrame({ type: 'configuration', digest, content: content.toString('base64') }));
      sizes.set(digest, line.length);
      makeRoomFor(digest);
      return line;
    } catch (thrown) {
      kept.delete(digest);
      throw thrown;
    }
  }

  /**
   * Evicts the least recently requested frames. Frames that are still being fetched are kept, because their size is not
   * known yet.
   */
  function makeRoomFor(newest: string): void {
    let total = 0;
    for (const size of sizes.values()) total += size;
    for (const digest of kept.keys()) {
      if (total <= MAX_KEPT) return;
      const size = sizes.get(digest);
      if (size === undefined || digest === newest) continue;
      total -= size;
      sizes.delete(digest);
      kept.delete(digest);
      for (const reader of readers.get(digest) ?? []) reader.owner.cut();
    }
  }
}
