/**
 * Challenges for workspaces that name no port. The broker keeps none: a nonce carries its own expiry and authenticates
 * the key and the Codespace that it was issued to, and only used nonces are remembered. The authentication key exists
 * only in this process; after a takeover or a restart, a workspace gets a new challenge.
 */
import { createHmac } from 'node:crypto';
import { createReplayMemory } from '@meshpass/identity/limits/replay';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';

/** The key and Codespace that a challenge is bound to. */
export interface ChallengeBinding {
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
/** Number of used nonces remembered. Each use needs a challenge for the presenter's own Codespace. */
const CAPACITY = 20_000;
const HALF = 16;

/** Creates challenges. */
export function createPresenceChallenges(clock: Clock, random: Random) {
  const used = createReplayMemory(CHALLENGE_SECONDS, CAPACITY, 'forget');
  const secret = random(32);
  const seal = (text: string) => createHmac('sha256', secret).update(text).digest();
  const nonceOf = (head: Buffer, { jkt, codespaceId }: ChallengeBinding) => {
    const tag = seal(`nonce ${head.toString('hex')} ${codespaceId} ${jkt}`);
    return Buffer.concat([head, tag.subarray(0, HALF)]).toString('base64url');
  };
  const pathOf = (nonce: string) => `/${seal(`path ${nonce}`).toString('base64url')}`;
  return {
    /** Issues a challenge. */
    issue(challenged: ChallengeBinding) {
      const head = Buffer.from(random(HALF));
      head.writeUInt32BE(toUnixSeconds(clock) + CHALLENGE_SECONDS);
      const nonce = nonceOf(head, challenged);
      return { nonce, path: pathOf(nonce), expires_in: CHALLENGE_SECONDS };
    },
    /**
     * Consumes a challenge.
     * @returns its path, or undefined if this process issued no such challenge, or it has expired or was used
     */
    take(nonce: string, challenged: ChallengeBinding) {
      const now = toUnixSeconds(clock);
      const head = Buffer.from(nonce, 'base64url').subarray(0, HALF);
      if (head.length < HALF || !equalInConstantTime(nonce, nonceOf(head, challenged))) return undefined;
      if (head.readUInt32BE() <= now || used.claim(nonce, now, challenged.jkt) !== 'fresh') return undefined;
      return { path: pathOf(nonce) };
    },
  };
}
