/**
 * Issued challenges that are still unanswered. They are kept in memory, limited in number, and valid for one attempt
 * each. They belong to the broker that issued them; after a takeover or a restart, a workspace gets a new one.
 */
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { sourceGroup } from '@meshpass/identity/limits/source';
import type { Clock, Random } from '../../base/index.ts';

/** The key and Codespace that a challenge is bound to. */
export interface Challenged {
  /** Thumbprint of the DPoP key. */
  readonly jkt: string;
  /** GitHub's id for the Codespace. */
  readonly codespaceId: number;
}

/**
 * Lifetime of a challenge, seconds. An agent answers within a second or two, but GitHub may need longer to notice a new
 * port.
 */
export const CHALLENGE_SECONDS = 60;
/** Maximum challenges per source. Many Codespaces may share one GitHub address. */
const PER_SOURCE = 512;
/** Maximum challenges per Codespace. Its agent answers one at a time, so further requests replace only its own. */
const PER_CODESPACE = 8;
const CAPACITY = 20_000;

interface Entry extends Challenged {
  readonly path: string;
  readonly source: string;
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

/** Creates an empty set of challenges. */
export function createPresenceChallenges(
  clock: Clock,
  random: Random,
  { perSource = PER_SOURCE, capacity = CAPACITY } = {},
) {
  /** Challenges by the SHA-256 of their nonce, oldest first. All have the same lifetime. */
  const entries = new Map<string, Entry>();
  const held = new Map<string, number>();
  /** Keys of each Codespace's entries, oldest first. */
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
    /**
     * Issues a challenge. If the Codespace or its source has reached its limit, the Codespace's oldest challenge is
     * dropped.
     * @param source client address; its group (an IPv4 address or an IPv6 /64) counts towards the limit per source
     * @throws MeshpassError `overloaded`
     */
    issue({ jkt, codespaceId }: Challenged, address: string) {
      dropExpired();
      const source = sourceGroup(address);
      const mine = held.get(source) ?? 0;
      const own = [...(ofCodespace.get(codespaceId) ?? [])].map((key) => ({ key, entry: entries.get(key)! }));
      const isFull = mine >= perSource || entries.size >= capacity;
      // At a limit, only a challenge from the same source may be replaced.
      const oldest = isFull ? own.find(({ entry }) => entry.source === source) : own[0];
      if (isFull && !oldest)
        throw new MeshpassError('overloaded', 'Too many presence challenges are in progress. Try again.', {
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
    /**
     * Consumes a challenge.
     * @returns its path, or undefined if there is no challenge with this nonce, key and Codespace
     */
    take(nonce: string, { jkt, codespaceId }: Challenged) {
      dropExpired();
      const key = sha256Hex(nonce);
      const entry = entries.get(key);
      if (!entry) return undefined;
      // Consumed even if another client presents it: the challenge is no longer secret, and this was its one attempt.
      drop(key, entry);
      return entry.jkt === jkt && entry.codespaceId === codespaceId ? { path: entry.path } : undefined;
    },
  };
}
