/**
 * Challenges that were given out and not yet answered: in memory, bounded, each good for one try. They are of the broker that
 * gave them; after a takeover or a restart a workspace gets a new one.
 */
import { MeshpassError, type PresenceChallenge } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Clock, Random } from '../instant.ts';

/** What a challenge is bound to. */
export interface Challenged {
  /** Thumbprint of the DPoP key. */
  readonly jkt: string;
  /** GitHub's id of the Codespace. */
  readonly codespaceId: number;
}

export interface PresenceChallenges {
  /**
   * @param source whose share of the memory it takes
   * @throws MeshpassError `overloaded`
   */
  readonly issue: (challenged: Challenged, source: string) => PresenceChallenge;
  /** Uses a challenge up. @returns its path, or undefined where there is none of this nonce, key and Codespace any more */
  readonly take: (nonce: string, challenged: Challenged) => { readonly path: string } | undefined;
}

/** An agent answers within a second or two; a port that GitHub must notice first may take longer. */
export const CHALLENGE_SECONDS = 60;
/** Many Codespaces may come from one address of GitHub's. */
const PER_SOURCE = 512;
const CAPACITY = 20_000;

interface Entry extends Challenged {
  readonly path: string;
  readonly source: string;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

export function createPresenceChallenges(
  clock: Clock,
  random: Random,
  { perSource = PER_SOURCE, capacity = CAPACITY } = {},
): PresenceChallenges {
  /** By the SHA-256 of the nonce, the oldest first: all live equally long. */
  const entries = new Map<string, Entry>();
  const held = new Map<string, number>();

  const drop = (key: string, { source }: Entry) => {
    entries.delete(key);
    const left = (held.get(source) ?? 1) - 1;
    if (left > 0) held.set(source, left);
    else held.delete(source);
  };
  const dropExpired = () => {
    for (const [key, entry] of entries) {
      if (entry.expiresAt > clock()) return;
      drop(key, entry);
    }
  };

  return {
    issue({ jkt, codespaceId }, source) {
      dropExpired();
      const mine = held.get(source) ?? 0;
      if (mine >= perSource || entries.size >= capacity)
        throw new MeshpassError('overloaded', 'Too many Codespaces are being asked for their presence; try again.', {
          retryAfter: 5,
          detail: { challenges: entries.size, ofSource: mine },
        });
      const nonce = random(32).toString('base64url');
      const path = `/${random(32).toString('base64url')}`;
      const expiresAt = clock() + CHALLENGE_SECONDS * 1000;
      entries.set(sha256Hex(nonce), { jkt, codespaceId, path, source, expiresAt });
      held.set(source, mine + 1);
      return { nonce, path, expires_in: CHALLENGE_SECONDS };
    },
    take(nonce, { jkt, codespaceId }) {
      dropExpired();
      const key = sha256Hex(nonce);
      const entry = entries.get(key);
      if (!entry) return undefined;
      // Also where it is presented by somebody else: whoever has seen it has had their try.
      drop(key, entry);
      return entry.jkt === jkt && entry.codespaceId === codespaceId ? { path: entry.path } : undefined;
    },
  };
}
