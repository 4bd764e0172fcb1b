/**
 * Verifies presence: the holder of the DPoP key has to answer from within the Codespace. A token and a name can be
 * copied to another machine, but a port of the Codespace cannot.
 *
 * If a token exchange names a port on which the agent is already listening, the broker requests a path of its own
 * choice through GitHub's port forwarding. It only accepts a JWS signed with that key as the answer
 * (docs/interfaces/protocol.md). An exchange without a port is rejected with a challenge. The agent then opens a port
 * to answer the challenge and repeats the exchange with the nonce and the port.
 */
import { type Attestation, dpopThumbprint, MeshpassError, PRESENCE_TYPE, presencePath } from '@meshpass/identity';
import { PublicKey, parseJws, publicKeyOf, verifyJws } from '@meshpass/identity/jws/es256';
import { z } from 'zod';
import { type Clock, equalInConstantTime, type Random, toUnixSeconds } from '../../base/index.ts';
import type { PresenceOutcome } from '../../issuers/index.ts';
import { CHALLENGE_SECONDS, type ChallengeBinding, createPresenceChallenges } from './challenges.ts';
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

  // This nonce is only valid for this request and this exchange, so it does not have to be stored.
  function fresh(exchange: string) {
    const nonce = random(32).toString('base64url');
    return { nonce, path: presencePath(nonce), exchange };
  }
}

// Verifies that the answer from a Codespace's port was signed with the DPoP key for this challenge and this broker.

interface ExpectedAnswer {
  /** The thumbprint of the key that signed the exchange's DPoP proof. */
  readonly jkt: string;
  readonly nonce: string;
  readonly path: string;
  /** The public URL of this broker. */
  readonly broker: string;
  readonly codespaceName: string;
  /**
   * The digest of the exchange that offered a port (`exchangeDigest`). Undefined if the answer is to a challenge from
   * an earlier response.
   */
  readonly exchange: string | undefined;
  /** The current time in Unix seconds. */
  readonly now: number;
}

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

/** Returns a description of what is wrong with an answer, for the log, or undefined if the answer is valid. */
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
