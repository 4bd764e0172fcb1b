/**
 * Verifies presence: the holder of the DPoP key has to answer from within the Codespace. A token and a name can be
 * copied to another machine, but a port of the Codespace cannot.
 *
 * If a token exchange names a port on which the agent is already listening, the broker requests a path of its own
 * choice through GitHub's port forwarding. It only accepts a JWS signed with that key as the answer
 * (docs/interfaces/protocol.md). An exchange without a port is rejected with a challenge. The agent then opens a port
 * to answer the challenge and repeats the exchange with the nonce and the port.
 */
import { createHmac } from 'node:crypto';
import {
  type Attestation,
  createReplayMemory,
  dpopThumbprint,
  MeshpassError,
  PRESENCE_TYPE,
  parseJws,
  presencePath,
  publicKeyOf,
  verifyJws,
} from '@meshpass/identity';
import { PublicKey } from '@meshpass/identity/wire';
import { z } from 'zod';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';
import type { PresenceOutcome } from '../../issuers/index.ts';
import { type ForwardingOptions, requestForwardedPort } from './forwarded-port.ts';

/**
 * Determines whether Codespaces have to prove their presence. docs/operating-broker.md explains what each mode costs
 * and what it protects against.
 */
export const PRESENCE_MODES = ['required', 'preferred', 'off'] as const;
export type PresenceMode = (typeof PRESENCE_MODES)[number];

/** The client that is presenting a proof. */
export interface Presenter {
  /** The thumbprint of the key that signed the exchange's DPoP proof. */
  readonly jkt: string;
  /** The source address of the request. */
  readonly source: string;
  /**
   * The port on which the workspace answers, either to an earlier challenge or for this exchange (`exchangeDigest`).
   */
  readonly presence?:
    | { readonly nonce: string; readonly port: number }
    | { readonly exchange: string; readonly port: number }
    | undefined;
  /**
   * Called once GitHub has identified the Codespace and its owner, even if the proof is rejected later. That way, the
   * audit row shows who a stolen proof belongs to.
   */
  readonly identified?: (identity: Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>) => void;
}

export interface PresenceClaim {
  /** The Codespace's ID and name, as reported by GitHub. */
  readonly codespace: { readonly id: number; readonly name: string };
  readonly token: string;
  readonly presenter: Presenter;
}

export type PresenceCheck = ReturnType<typeof createPresenceCheck>;

export interface PresenceOptions {
  readonly mode: PresenceMode;
  /** The public URL of this broker. Answers must have it as their `aud` claim. */
  readonly broker: string;
  readonly forwarding: ForwardingOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** Creates the check that verifies whether a client is running in its Codespace. */
export function createPresenceCheck({ mode, broker, forwarding, clock, random }: PresenceOptions) {
  const challenges = createPresenceChallenges(clock, random);
  return {
    /**
     * Verifies that the client presenting a proof is present in the Codespace.
     * @param signal aborts the check if its result is no longer needed
     * @throws MeshpassError `presence_*`
     */
    async show({ codespace, token, presenter }: PresenceClaim, signal?: AbortSignal): Promise<PresenceOutcome> {
      if (mode === 'off') return 'not_asked';
      const { jkt, presence } = presenter;
      const challenged = { jkt, codespaceId: codespace.id };
      if (!presence)
        throw new MeshpassError(
          'presence_required',
          'The broker must verify that you are in this Codespace. Answer its challenge on a port, then repeat the exchange. ' +
            'The agent does this automatically. If yours does not, update it.',
          { members: { presence: challenges.issue(challenged) } },
        );
      const { port } = presence;
      const challenge = 'nonce' in presence ? taken(presence.nonce, challenged) : fresh(presence.exchange);
      const { path } = challenge;
      const forwarded = await requestForwardedPort(
        { name: codespace.name, port, path, token },
        { ...forwarding, signal },
      );
      switch (forwarded.outcome) {
        case 'unreachable':
          if (mode === 'preferred') return 'unreachable';
          throw new MeshpassError(
            'presence_unreachable',
            "The broker cannot connect to GitHub's port forwarding, so it cannot verify that you are in this Codespace. Try again.",
            { retryAfter: 5, detail: { reason: forwarded.reason, port } },
          );
        case 'unanswered':
          throw new MeshpassError(
            'presence_unanswered',
            `GitHub's port forwarding did not return an answer from port ${port} of this Codespace (${forwarded.reason}). ` +
              'Run `meshpass doctor` in the Codespace for suggestions.',
            { detail: { port } },
          );
        case 'answered': {
          const expected = { ...challenge, aud: broker, codespace: codespace.name };
          const fault = faultOfAnswer(forwarded.body, expected, jkt, toUnixSeconds(clock));
          if (fault === undefined) return 'answered';
          throw new MeshpassError(
            'presence_mismatch',
            'The process that answered in this Codespace does not have the key for this exchange. Run meshpass in the Codespace itself, ' +
              "configured with this broker's public URL.",
            { detail: { reason: `The answer is ${fault}.`, port } },
          );
        }
      }
    },
  };

  function taken(nonce: string, challenged: ChallengeBinding) {
    const known = challenges.take(nonce, challenged);
    if (known) return { nonce, path: known.path, exchange: undefined };
    throw new MeshpassError(
      'presence_challenge_unknown',
      'This challenge was already used, has expired, or belongs to a different key, Codespace or broker. Start the exchange again.',
    );
  }

  // This nonce is only valid for this request and this exchange, so it does not have to be stored.
  function fresh(exchange: string) {
    const nonce = random(32).toString('base64url');
    return { nonce, path: presencePath(nonce), exchange };
  }
}

// Verifies that the answer from a Codespace's port was signed with the DPoP key for this challenge and this broker.

/** How far the agent's estimate of the broker's clock may be off, in seconds. */
const DRIFT_SECONDS = 60;
const Header = z.strictObject({
  typ: z.literal(PRESENCE_TYPE),
  alg: z.literal('ES256'),
  jwk: PublicKey.strict(),
});
const Claims = z.strictObject({
  aud: z.string().max(2_048),
  nonce: z.string().max(64),
  path: z.string().max(64),
  codespace: z.string().max(100),
  exp: z.number().int(),
  exchange: z.string().max(64).optional(),
});

/** The claims that must match the challenge, with the fault to report if a claim does not match. */
const MISMATCHES = {
  aud: 'made for a different broker',
  nonce: 'made for a different challenge',
  path: 'made for a different path',
  // The digest of the exchange that offered a port (`exchangeDigest`). Absent if the answer is to a challenge from an
  // earlier response.
  exchange: 'made for a different exchange',
  codespace: 'made in a different Codespace',
} as const;

/**
 * Returns a description of what is wrong with an answer, for the log, or undefined if the answer is valid.
 * @param jkt the thumbprint of the key that signed the exchange's DPoP proof
 * @param now the current time in Unix seconds
 */
function faultOfAnswer(
  body: string,
  expected: Readonly<Record<keyof typeof MISMATCHES, string | undefined>>,
  jkt: string,
  now: number,
): string | undefined {
  const jws = parseJws(body);
  if (!jws) return 'not a compact JWS';
  const header = Header.safeParse(jws.header);
  if (!header.success) return 'a JWS with an unexpected header';
  const claims = Claims.safeParse(jws.claims);
  if (!claims.success) return 'a JWS with unexpected claims';
  const { jwk } = header.data;
  if (!equalInConstantTime(dpopThumbprint(jwk), jkt)) return 'signed with a different key than the DPoP proof';
  const names = Object.keys(MISMATCHES) as (keyof typeof MISMATCHES)[];
  const mismatch = names.find((name) => claims.data[name] !== expected[name]);
  if (mismatch) return MISMATCHES[mismatch];
  const { exp } = claims.data;
  if (exp <= now - DRIFT_SECONDS) return 'expired';
  if (exp > now + CHALLENGE_SECONDS + DRIFT_SECONDS) return 'valid for too long';
  const key = publicKeyOf(jwk);
  return key && verifyJws(jws, key) ? undefined : 'a JWS with an invalid signature';
}

// Issues presence challenges to workspaces that did not offer a port. The broker does not store the challenges that it
// issues. Each nonce contains its expiry and is authenticated for the key and the Codespace that it was issued to, so
// the broker only has to remember the nonces that were used. The secret for this exists only in this process. After a
// takeover or a restart, workspaces get a new challenge.

/** The key and Codespace that a challenge is bound to. */
interface ChallengeBinding {
  /** The thumbprint of the DPoP key. */
  readonly jkt: string;
  /** GitHub's ID for the Codespace. */
  readonly codespaceId: number;
}

/**
 * The lifetime of a challenge, in seconds. An agent answers within a second or two, but GitHub may take longer to
 * detect a new port.
 */
const CHALLENGE_SECONDS = 60;
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
