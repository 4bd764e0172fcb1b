/** Configurations by digest, as the frame that agents are sent: fetched once for all sessions of a set, given out a few at a time. */

import { formatFrame, MAX_CONFIGURATION } from '@meshpass/identity/channel/index';
import { sha256Base64url } from '@meshpass/identity/hash';
import type { ControlConnection } from './connection.ts';
import { createPlaces } from './places.ts';

/** Bytes of frames that are kept; the last one is kept whatever its size. */
const MAX_KEPT = 64 * 1024 * 1024;

export interface Announced {
  readonly set: string;
  readonly digest: string;
}

export interface Contents {
  /** Sends a connection the configuration, in its turn. */
  give(connection: ControlConnection, announced: Announced): void;
}

/** @param fetch asks the broker */
export function createContents(
  fetch: (announced: Announced) => Promise<Buffer>,
  onFailure: (cause: unknown) => void,
): Contents {
  const kept = new Map<string, Promise<Buffer>>();
  const sizes = new Map<string, number>();
  const places = createPlaces<ControlConnection>();
  return {
    give(connection, announced) {
      places.wait(connection, (began) => send(connection, announced, began));
    },
  };

  async function send(
    connection: ControlConnection,
    announced: Announced,
    began: (bytes: number) => void,
  ): Promise<void> {
    try {
      const line = await lineOf(announced);
      began(line.length);
      await connection.sendLine(line);
    } catch (cause) {
      onFailure(cause);
      connection.send({ type: 'refused', error_code: 'configuration_unavailable' });
    }
  }

  function lineOf(announced: Announced): Promise<Buffer> {
    const { digest } = announced;
    const found = kept.get(digest) ?? load(announced);
    kept.delete(digest);
    kept.set(digest, found);
    return found;
  }

  async function load(announced: Announced): Promise<Buffer> {
    const { digest } = announced;
    try {
      const content = await fetch(announced);
      // The agent compares again; here it keeps the cache clean.
      if (content.length > MAX_CONFIGURATION || sha256Base64url(content) !== digest) {
        throw new Error('the broker gave another configuration than it announced');
      }
      const line = Buffer.from(formatFrame({ type: 'configuration', digest, content: content.toString('base64') }));
      // It may have made room while it came: what is not kept does not count.
      if (kept.has(digest)) sizes.set(digest, line.length);
      makeRoom();
      return line;
    } catch (thrown) {
      kept.delete(digest);
      throw thrown;
    }
  }

  function makeRoom(): void {
    let total = 0;
    for (const size of sizes.values()) total += size;
    for (const digest of [...kept.keys()].slice(0, -1)) {
      if (total <= MAX_KEPT) return;
      total -= sizes.get(digest) ?? 0;
      sizes.delete(digest);
      kept.delete(digest);
    }
  }
}
