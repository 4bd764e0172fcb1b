/**
 * Challenges that were given out and not yet answered: in memory, bounded, each good for one try. They are of the broker that
 * gave them; after a takeover or a restart a workspace gets a new one.
 */
import { MeshpassError, type PresenceChallenge } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Clock, Random } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';

/** What a challenge is bound to. */
export interface Challenged {
  /** Thumbprint of the DPoP key. */
  readonly jkt: string;
  /** GitHub's id of the Codespace. */
  readonly codespaceId: number;
}

export interface PresenceChallenges {
  /**
   * Takes the place of the Codespace's oldest where it has all that one may have, or its source has.
   * @param source address whose share of the memory it takes: an IPv4 address, or an IPv6 /64
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
/** Of one Codespace, whose agent answers one at a time: whoever asks for more takes them from itself. */
const PER_CODESPACE = 8;
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
  /** Keys of the entries of each Codespace, the oldest first. */
  const ofCodespace = new Map<number, Set<string>>();

  const drop = (key: string, { source, codespaceId }: Entry) => {
    entries.delete(key);
    const others = ofCodespace.get(codespaceId);
    others?.delete(key);
    if (others?.size === 0) ofCodespace.delete(codespaceId);
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
    issue({ jkt, codespaceId }, address) {
      dropExpired();
      const source = groupOf(address);
      const mine = held.get(source) ?? 0;
      const own = [...(ofCodespace.get(codespaceId) ?? [])].map((key) => ({ key, entry: entries.get(key)! }));
      const isFull = mine >= perSource || entries.size >= capacity;
      // Where all is taken, only in place of one that counts for the same source.
      const oldest = isFull ? own.find(({ entry }) => entry.source === source) : own[0];
      if (isFull && !oldest)
        throw new MeshpassError('overloaded', 'Too many presence challenges are in progress; try again.', {
          retryAfter: 5,
          detail: { challenges: entries.size, ofSource: mine },
        });
      if (oldest && (isFull || own.length >= PER_CODESPACE)) drop(oldest.key, oldest.entry);
      const nonce = random(32).toString('base64url');
      const path = `/${random(32).toString('base64url')}`;
      const expiresAt = clock() + CHALLENGE_SECONDS * 1000;
      const key = sha256Hex(nonce);
      entries.set(key, { jkt, codespaceId, path, source, expiresAt });
      held.set(source, (held.get(source) ?? 0) + 1);
      ofCodespace.set(codespaceId, (ofCodespace.get(codespaceId) ?? new Set()).add(key));
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
