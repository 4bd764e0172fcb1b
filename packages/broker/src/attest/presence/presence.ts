/**
 * Verifies presence: the holder of the DPoP key must answer from within the Codespace. A token and a name can be copied
 * elsewhere, but a port of the Codespace cannot.
 *
 * If an exchange contains a port on which the agent already listens, the broker fetches a path of its own choice
 * through GitHub's port forwarding. It accepts only a JWS signed with that key (docs/interfaces/protocol.md). An
 * exchange without a port is refused with a challenge. The agent then opens a port to answer the challenge, and repeats
 * the exchange with the nonce and the port.
 */
import { type Attestation, dpopThumbprint, MeshpassError, PRESENCE_TYPE, presencePath } from '@meshpass/identity';
import { PublicKey, parseJws, publicKeyOf, verifyJws } from '@meshpass/identity/jws/es256';
import { z } from 'zod';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';
import type { PresenceOutcome } from '../../issuers/index.ts';
import { CHALLENGE_SECONDS, type ChallengeBinding, createPresenceChallenges } from './challenges.ts';
import { type ForwardingOptions, requestForwardedPort } from './forwarded-port.ts';

/**
 * Whether Codespaces must prove their presence. docs/operating-broker.md explains the cost and protection of each mode.
 */
export const PRESENCE_MODES = ['required', 'preferred', 'off'] as const;
export type PresenceMode = (typeof PRESENCE_MODES)[number];

/** The client that presents a proof. */
export interface Presenter {
  /** Thumbprint of the key that signed the exchange's DPoP proof. */
  readonly jkt: string;
  /** Source address of the request. */
  readonly source: string;
  /** Port on which the workspace answers, either to an earlier challenge or to this exchange (`exchangeDigest`). */
  readonly presence?:
    | { readonly nonce: string; readonly port: number }
    | { readonly exchange: string; readonly port: number }
    | undefined;
  /**
   * Called once GitHub has identified the Codespace and its owner, even if the proof is then refused. If the proof was
   * stolen, the audit row shows the owner.
   */
  readonly identified?: (identity: Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>) => void;
}

export interface PresenceClaim {
  /** Id and name of the Codespace, according to GitHub. */
  readonly codespace: { readonly id: number; readonly name: string };
  readonly token: string;
  readonly presenter: Presenter;
}

export type PresenceCheck = ReturnType<typeof createPresenceCheck>;

export interface PresenceOptions {
  readonly mode: PresenceMode;
  /** Public URL of this broker. It must be the `aud` of answers. */
  readonly broker: string;
  readonly forwarding: ForwardingOptions;
  readonly clock: Clock;
  readonly random: Random;
}

/** Creates the presence check. */
export function createPresenceCheck({ mode, broker, forwarding, clock, random }: PresenceOptions) {
  const challenges = createPresenceChallenges(clock, random);
  return {
    /**
     * Verifies that the presenter is present in the Codespace.
     * @param signal aborts the check when its result is no longer needed
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
          const expected = { ...challenge, jkt, broker, codespaceName: codespace.name };
          const fault = faultOfAnswer(forwarded.body, { ...expected, now: toUnixSeconds(clock) });
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

  // The nonce is valid only for this request and exchange, so it is not stored.
  function fresh(exchange: string) {
    const nonce = random(32).toString('base64url');
    return { nonce, path: presencePath(nonce), exchange };
  }
}

// Verifies that the answer from a Codespace's port was signed with the DPoP key, for this challenge and this broker.

interface ExpectedAnswer {
  /** Thumbprint of the key that signed the exchange's DPoP proof. */
  readonly jkt: string;
  readonly nonce: string;
  readonly path: string;
  /** Public URL of this broker. */
  readonly broker: string;
  readonly codespaceName: string;
  /** Digest of the exchange that offered a port (`exchangeDigest`). Undefined if a refusal contained the challenge. */
  readonly exchange: string | undefined;
  /** Unix seconds. */
  readonly now: number;
}

/** Tolerated error of the agent's estimate of the broker's clock, seconds. */
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

/** Returns what is wrong with an answer, for the logs, or undefined if it is valid. */
function faultOfAnswer(body: string, expected: ExpectedAnswer): string | undefined {
  const jws = parseJws(body);
  if (!jws) return 'not a compact JWS';
  const header = Header.safeParse(jws.header);
  if (!header.success) return 'a JWS with an unexpected header';
  const claims = Claims.safeParse(jws.claims);
  if (!claims.success) return 'a JWS with unexpected claims';
  const { jwk } = header.data;
  if (!equalInConstantTime(dpopThumbprint(jwk), expected.jkt)) return 'signed with a different key than the DPoP proof';
  const { aud, nonce, path, codespace, exp, exchange } = claims.data;
  if (aud !== expected.broker) return 'made for a different broker';
  if (nonce !== expected.nonce) return 'made for a different challenge';
  if (path !== expected.path) return 'made for a different path';
  if (exchange !== expected.exchange) return 'made for a different exchange';
  if (codespace !== expected.codespaceName) return 'made in a different Codespace';
  if (exp <= expected.now - DRIFT_SECONDS) return 'expired';
  if (exp > expected.now + CHALLENGE_SECONDS + DRIFT_SECONDS) return 'valid for too long';
  const key = publicKeyOf(jwk);
  return key && verifyJws(jws, key) ? undefined : 'a JWS with an invalid signature';
}
