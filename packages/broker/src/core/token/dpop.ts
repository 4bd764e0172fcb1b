/**
 * Verifies DPoP proofs (RFC 9449 section 4.3), ES256 with P-256 keys only.
 *
 * The replay memory does not survive a restart. Proofs made before this process started are therefore refused,
 * including all proofs that the previous process accepted. The exception is a client whose clock runs ahead by up to
 * MAX_AHEAD: an attacker who broke TLS and has the session token could replay its last proofs.
 */
import { createHash } from 'node:crypto';
import { dpopThumbprint, MeshpassError } from '@meshpass/identity';
import { PublicKey, publicKeyOf, readJws, verifyJws } from '@meshpass/identity/jws/es256';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { equalInConstantTime } from '../../base/index.ts';
import { createReplayMemory, type ReplayMemory } from './replay.ts';

/** Maximum age of a proof, seconds. */
const MAX_AGE = 60;
/** Maximum time by which a client's clock may run ahead, seconds. */
export const MAX_AHEAD = 5;
const MAX_PROOF = 4_096;

/**
 * Creates an empty memory for the proofs that verifyDpop() accepts.
 * @param capacity maximum proofs within their maximum age
 * @param whenFull see createReplayMemory()
 * @param perOwner maximum proofs per key, if a full memory refuses
 */
export function createProofMemory(
  capacity: number,
  whenFull: 'refuse' | 'forget' = 'refuse',
  perOwner = capacity,
): ReplayMemory {
  return createReplayMemory(MAX_AGE + MAX_AHEAD, capacity, whenFull, perOwner);
}

/** A proof and what it must match. */
export interface DpopRequest {
  /** Header as received; undefined if absent. */
  readonly proof: string | undefined;
  readonly method: string;
  /** The endpoint's configured public URL, without query; never derived from the Host header. */
  readonly url: string;
  /** Unix seconds. */
  readonly now: number;
  /** Start of this process, Unix seconds. */
  readonly startedAt: number;
  readonly replay: ReplayMemory;
  /** The request's session token, whose hash must equal the proof's `ath`. */
  readonly accessToken?: string;
  /** Thumbprint that the key must have. */
  readonly jkt?: string;
}

const Header = z.object({
  typ: z.literal('dpop+jwt'),
  alg: z.literal('ES256'),
  jwk: PublicKey.extend({ d: z.undefined().optional() }),
  crit: z.undefined().optional(),
});
const Claims = z.object({
  jti: z.string().min(1).max(256).refine(isPlainText),
  htm: z.string().max(16),
  htu: z.string().max(2_048).refine(isPlainText),
  iat: z.number().int(),
  exp: z.number().optional(),
  nbf: z.number().optional(),
  ath: z.string().max(64).optional(),
});

/**
 * Verifies a proof and consumes it.
 * @returns thumbprint (RFC 7638) of the key that made the proof
 * @throws MeshpassError `dpop_*`, `overloaded`
 */
export function verifyDpop(request: DpopRequest): string {
  if (request.proof === undefined) throw new MeshpassError('dpop_missing', 'The request is missing a DPoP proof.');
  const { jws, jwk, claims } = parse(request.proof);
  const jkt = dpopThumbprint(jwk);
  // Checked before the signature, so that a wrong key costs no verification.
  if (request.jkt !== undefined && !equalInConstantTime(jkt, request.jkt))
    throw new MeshpassError('dpop_key_mismatch', 'The DPoP proof was not signed with the session key.');
  const key = publicKeyOf(jwk);
  if (!key) throw new MeshpassError('dpop_malformed', 'The DPoP proof key is not a point on P-256.');
  if (!verifyJws(jws, key)) throw new MeshpassError('dpop_signature', 'The DPoP proof has an invalid signature.');

  if (claims.htm !== request.method) throw mismatch('method', claims.htm);
  if (withoutQuery(claims.htu) !== request.url) throw mismatch('URL', claims.htu);
  if (request.accessToken !== undefined) {
    const expected = createHash('sha256').update(request.accessToken).digest('base64url');
    if (claims.ath === undefined || !equalInConstantTime(claims.ath, expected)) throw mismatch('session token', 'ath');
  }
  const { now, startedAt } = request;
  const expired = claims.iat < now - MAX_AGE || (claims.exp !== undefined && claims.exp <= now);
  const early = claims.iat > now + MAX_AHEAD || (claims.nbf !== undefined && claims.nbf > now + MAX_AHEAD);
  if (expired || early)
    throw new MeshpassError('dpop_expired', 'The DPoP proof is too old or from the future. Check the clock.', {
      detail: { iat: claims.iat, now },
    });
  if (claims.iat <= startedAt)
    throw new MeshpassError('dpop_expired', "The DPoP proof predates the broker's start. Create a new one.", {
      retryAfter: 1,
      detail: { iat: claims.iat, startedAt },
    });
  const id = createHash('sha256').update(`${jkt} ${claims.jti}`).digest('base64');
  const claimed = request.replay.claim(id, now, jkt);
  if (claimed === 'seen') throw new MeshpassError('dpop_replayed', 'The DPoP proof has already been used.');
  if (claimed === 'full')
    throw new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: MAX_AGE });
  return jkt;
}

function parse(proof: string) {
  if (proof.length > MAX_PROOF) throw malformed('it is too long');
  const jws = readJws(proof);
  if (!jws) throw malformed('it is not a single compact JWS');
  const header = Header.safeParse(jws.header);
  if (!header.success) throw malformed(`header: ${header.error.issues[0]?.path.join('.')}`);
  const claims = Claims.safeParse(jws.claims);
  if (!claims.success) throw malformed(`claims: ${claims.error.issues[0]?.path.join('.')}`);
  return { jws, jwk: header.data.jwk, claims: claims.data };
}

/**
 * Normalizes `htu`. RFC 9449 section 4.3 ignores its query and fragment; URL parsing implements RFC 3986 section 6.2.2.
 */
function withoutQuery(htu: string): string | undefined {
  if (!URL.canParse(htu)) return undefined;
  const url = new URL(htu);
  return url.username || url.password ? undefined : url.origin + url.pathname;
}

function malformed(reason: string): MeshpassError {
  return new MeshpassError('dpop_malformed', 'The DPoP proof is malformed.', { detail: { reason } });
}

function mismatch(what: string, got: string): MeshpassError {
  return new MeshpassError('dpop_mismatch', `The DPoP proof was created for a different ${what}.`, { detail: { got } });
}
