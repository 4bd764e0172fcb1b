/**
 * Verifies DPoP proofs (RFC 9449 section 4.3). Only ES256 with P-256 keys is supported.
 *
 * The replay cache does not survive a restart. Proofs that were created before this process started are therefore
 * rejected, which covers all proofs that the previous process accepted. The exception is a client whose clock is ahead
 * by up to MAX_AHEAD. An attacker who has broken TLS and has the session token could replay the last proofs of such a
 * client.
 */
import { createHash, type KeyObject } from 'node:crypto';
import {
  createReplayMemory,
  dpopThumbprint,
  isPlainText,
  MeshpassError,
  parseJws,
  publicKeyOf,
  type ReplayMemory,
  verifyJws,
} from '@meshpass/identity';
import type { ParsedLeaseProof } from '@meshpass/identity/channel';
import { PublicKey } from '@meshpass/identity/wire';
import { z } from 'zod';
import { equalInConstantTime } from '../../base/index.ts';

/** The maximum age of a proof, in seconds. */
const MAX_AGE = 60;
/** How far ahead a client's clock may be, in seconds. */
const MAX_AHEAD = 5;
const MAX_PROOF = 4_096;

/**
 * Creates an empty cache for the proofs that verifyDpop() accepts.
 * @param capacity the maximum number of cached proofs that have not expired
 * @param whenFull see createReplayMemory()
 * @param perOwner the maximum number of proofs per key, if a full cache refuses new ones
 */
export function createDpopReplayMemory(
  capacity: number,
  whenFull: 'refuse' | 'forget' = 'refuse',
  perOwner = capacity,
): ReplayMemory {
  return createReplayMemory(MAX_AGE + MAX_AHEAD, capacity, whenFull, perOwner);
}

/** A proof, together with the request and the key that it must match. */
export interface DpopRequest {
  /** The value of the DPoP header as received, or undefined if the header is absent. */
  readonly proof: string | undefined;
  readonly method: string;
  /** The endpoint's configured public URL, without a query string. It is never derived from the Host header. */
  readonly url: string;
  /** The current time, in Unix seconds. */
  readonly now: number;
  /** When this process started, in Unix seconds. */
  readonly startedAt: number;
  readonly replay: ReplayMemory;
  /** The session token in the request, whose hash must equal the proof's `ath`. */
  readonly accessToken?: string;
  /** The thumbprint that the key must have. */
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
 * Verifies a proof and marks it as used.
 * @returns the thumbprint (RFC 7638) of the key that signed the proof
 * @throws MeshpassError `dpop_*`, `overloaded`
 */
export function verifyDpop(request: DpopRequest): string {
  if (request.proof === undefined) throw new MeshpassError('dpop_missing', 'The request is missing a DPoP proof.');
  const { jws, jwk, claims } = parse(request.proof);
  const jkt = dpopThumbprint(jwk);
  verifyProofSignature('DPoP proof', { jws, jwk, jkt }, request.jkt);

  if (claims.htm !== request.method) throw mismatch('method', claims.htm);
  if (withoutQuery(claims.htu) !== request.url) throw mismatch('URL', claims.htu);
  if (request.accessToken !== undefined) {
    const expected = createHash('sha256').update(request.accessToken).digest('base64url');
    if (claims.ath === undefined || !equalInConstantTime(claims.ath, expected)) throw mismatch('session token', 'ath');
  }
  const { now } = request;
  const { iat, exp = Number.POSITIVE_INFINITY, nbf = iat } = claims;
  assertTimely('DPoP proof', { from: Math.max(iat, nbf), made: iat, until: Math.min(iat + MAX_AGE, exp - 1) }, request);
  const id = createHash('sha256').update(`${jkt} ${claims.jti}`).digest('base64');
  const claimed = request.replay.claim(id, now, jkt);
  if (claimed === 'seen') throw new MeshpassError('dpop_replayed', 'The DPoP proof has already been used.');
  if (claimed === 'full')
    throw new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: MAX_AGE });
  return jkt;
}

/** The kind of proof, as it appears in error messages. */
type Kind = 'DPoP proof' | 'lease proof';

/**
 * Verifies that a proof was signed with the expected key.
 * @param jkt the thumbprint that the key must have, or undefined to accept any key
 * @param known a key from an earlier proof with this thumbprint
 * @throws MeshpassError `dpop_key_mismatch`, `dpop_malformed`, `dpop_signature`
 */
export function verifyProofSignature(
  kind: Kind,
  proof: Omit<ParsedLeaseProof, 'claims'>,
  jkt: string | undefined,
  known?: KeyObject,
): KeyObject {
  // Check the thumbprint first, to avoid verifying the signature of a proof that was signed with the wrong key.
  if (jkt !== undefined && !equalInConstantTime(proof.jkt, jkt))
    throw new MeshpassError('dpop_key_mismatch', `The ${kind} was not signed with the session key.`);
  const key = known ?? publicKeyOf(proof.jwk);
  if (!key) throw new MeshpassError('dpop_malformed', `The ${kind} key is not a point on P-256.`);
  if (!verifyJws(proof.jws, key)) throw new MeshpassError('dpop_signature', `The ${kind} has an invalid signature.`);
  return key;
}

/**
 * Checks that a proof is currently valid and was created after this process started. All times are in Unix seconds.
 * @throws MeshpassError `dpop_expired`
 */
export function assertTimely(
  kind: Kind,
  { from, made, until }: { readonly from: number; readonly made: number; readonly until: number },
  { now, startedAt }: Pick<DpopRequest, 'now' | 'startedAt'>,
): void {
  if (from > now + MAX_AHEAD || until < now)
    throw new MeshpassError('dpop_expired', `The ${kind} is too old or from the future. Check the clock.`, {
      detail: { iat: made, now },
    });
  // An older proof may already have been used.
  if (made <= startedAt)
    throw new MeshpassError('dpop_expired', `The ${kind} predates the broker's start. Create a new one.`, {
      retryAfter: 1,
      detail: { iat: made, startedAt },
    });
}

function parse(proof: string) {
  if (proof.length > MAX_PROOF) throw malformed('it is too long');
  const jws = parseJws(proof);
  if (!jws) throw malformed('it is not a single compact JWS');
  const header = Header.safeParse(jws.header);
  if (!header.success) throw malformed(`header: ${header.error.issues[0]?.path.join('.')}`);
  const claims = Claims.safeParse(jws.claims);
  if (!claims.success) throw malformed(`claims: ${claims.error.issues[0]?.path.join('.')}`);
  return { jws, jwk: header.data.jwk, claims: claims.data };
}

/**
 * Normalizes `htu`. Its query and fragment are ignored, as required by RFC 9449 section 4.3. The URL parser implements
 * RFC 3986 section 6.2.2.
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
