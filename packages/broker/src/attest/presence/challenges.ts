/**
 * Issues presence challenges to workspaces that did not offer a port. The broker does not store the challenges that it
 * issues. Each nonce contains its expiry and is authenticated for the key and the Codespace that it was issued to, so
 * the broker only has to remember the nonces that were used. The secret for this exists only in this process. After a
 * takeover or a restart, workspaces get a new challenge.
 */
import { createHmac } from 'node:crypto';
import { createReplayMemory } from '@meshpass/identity/limits/replay';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';

/** The key and Codespace that a challenge is bound to. */
export interface ChallengeBinding {
  /** The thumbprint of the DPoP key. */
  readonly jkt: string;
  /** GitHub's ID for the Codespace. */
  readonly codespaceId: number;
}

/**
 * The lifetime of a challenge, in seconds. An agent answers within a second or two, but GitHub may take longer to
 * detect a new port.
 */
export const CHALLENGE_SECONDS = 60;
/** How many used nonces are remembered. Clients can only use challenges that were issued for their own Codespace. */
const CAPACITY = 20_000;
const HALF = 16;

/** Creates functions that issue and verify presence challenges. */
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
    /** Issues a challenge that is bound to a key and a Codespace. */
    issue(challenged: ChallengeBinding) {
      const head = Buffer.from(random(HALF));
      head.writeUInt32BE(toUnixSeconds(clock) + CHALLENGE_SECONDS);
      const nonce = nonceOf(head, challenged);
      return { nonce, path: pathOf(nonce), expires_in: CHALLENGE_SECONDS };
    },
    /**
     * Verifies a challenge and marks it as used.
     * @returns the path that the challenge requires, or undefined if the challenge was not issued by this process, has
     *   expired or was already used
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
