/**
 * Issues challenges to workspaces that did not offer a port. The broker does not store issued challenges. Each nonce
 * contains its own expiry and authenticates the key and the Codespace that it was issued to, so only used nonces must
 * be remembered. The authentication key exists only in this process. After a takeover or a restart, workspaces get a
 * new challenge.
 */
import { createHmac } from 'node:crypto';
import { createReplayMemory } from '@meshpass/identity/limits/replay';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';

/** The key and Codespace that a challenge is bound to. */
export interface ChallengeBinding {
  /** Thumbprint of the DPoP key. */
  readonly jkt: string;
  /** Id of the Codespace at GitHub. */
  readonly codespaceId: number;
}

/**
 * Lifetime of a challenge, seconds. An agent answers within a second or two, but GitHub may need longer to detect a new
 * port.
 */
export const CHALLENGE_SECONDS = 60;
/** Number of used nonces to remember. Clients can only use challenges that were issued for their own Codespace. */
const CAPACITY = 20_000;
const HALF = 16;

/** Creates the issuer of presence challenges. */
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
    /** Issues a challenge to a key and Codespace. */
    issue(challenged: ChallengeBinding) {
      const head = Buffer.from(random(HALF));
      head.writeUInt32BE(toUnixSeconds(clock) + CHALLENGE_SECONDS);
      const nonce = nonceOf(head, challenged);
      return { nonce, path: pathOf(nonce), expires_in: CHALLENGE_SECONDS };
    },
    /**
     * Verifies a challenge and marks it as used.
     * @returns the path of the challenge, or undefined if it was not issued by this process, has expired, or was used
     *   before
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
