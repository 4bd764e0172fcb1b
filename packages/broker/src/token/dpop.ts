/**
 * Verification of DPoP proofs (RFC 9449 section 4.3), ES256 with P-256 keys only.
 *
 * Replay memory is in the process, so a restart forgets it. Proofs made before this process started are therefore refused:
 * whatever the one before accepted was made before. What is left is a client whose clock runs ahead by up to
 * MAX_AHEAD; its proofs of the last moments could be used again, by someone who broke TLS and has the session token.
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type DpopKey, dpopThumbprint, MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';
import { z } from 'zod';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import type { ReplayMemory } from './replay.ts';

/** Seconds that a proof may be old. */
export const MAX_AGE = 60;
/** Seconds that a client's clock may run ahead. */
export const MAX_AHEAD = 5;
const MAX_PROOF = 4_096;

export interface DpopRequest {
  /** The header as received; undefined where there is none. */
  readonly proof: string | undefined;
  readonly method: string;
  /** The configured public URL of the endpoint, without query; never made from the Host header. */
  readonly url: string;
  /** Unix seconds. */
  readonly now: number;
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
  readonly replay: ReplayMemory;
  /** Whose share of the replay memory it takes; absent: that memory has no shares. */
  readonly source?: string;
  /** Session token that comes with the request: its hash must be the proof's `ath`. */
  readonly accessToken?: string;
  /** Thumbprint that the key must have. */
  readonly jkt?: string;
}

const coordinate = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const Header = z.object({
  typ: z.literal('dpop+jwt'),
  alg: z.literal('ES256'),
  jwk: z.object({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    x: coordinate,
    y: coordinate,
    d: z.undefined().optional(),
  }),
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
 * @returns thumbprint (RFC 7638) of the key that made the proof
 * @throws MeshpassError `dpop_*`, `overloaded`
 */
export function verifyDpop(request: DpopRequest): string {
  if (request.proof === undefined) throw new MeshpassError('dpop_missing', 'The request has no DPoP proof.');
  const { header, claims, input, signature } = parse(request.proof);
  const jwk = { kty: header.jwk.kty, crv: header.jwk.crv, x: header.jwk.x, y: header.jwk.y };
  const jkt = dpopThumbprint(jwk);
  // Before the signature: a stranger's key is not worth a verification.
  if (request.jkt !== undefined && !equalInConstantTime(jkt, request.jkt))
    throw new MeshpassError('dpop_key_mismatch', 'The DPoP proof was not made with the key of the session.');
  if (!verify('sha256', Buffer.from(input), { key: keyOf(jwk), dsaEncoding: 'ieee-p1363' }, signature))
    throw new MeshpassError('dpop_signature', 'The signature of the DPoP proof is invalid.');

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
    throw new MeshpassError('dpop_expired', 'The DPoP proof is too old or from the future; check the clock.', {
      detail: { iat: claims.iat, now },
    });
  if (claims.iat <= startedAt)
    throw new MeshpassError('dpop_expired', 'The DPoP proof was made before the broker started; make a new one.', {
      retryAfter: 1,
      detail: { iat: claims.iat, startedAt },
    });
  const id = createHash('sha256').update(`${jkt} ${claims.jti}`).digest('base64');
  const claimed = request.replay.claim(id, now, request.source);
  if (claimed === 'seen') throw new MeshpassError('dpop_replayed', 'The DPoP proof has been used before.');
  if (claimed === 'full')
    throw new MeshpassError('overloaded', 'The broker is overloaded; try again.', { retryAfter: MAX_AGE });
  return jkt;
}

function parse(proof: string) {
  if (proof.length > MAX_PROOF) throw malformed('it is too long');
  const match = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/.exec(proof);
  if (!match) throw malformed('it is not a compact JWS, or there are several');
  const header = Header.safeParse(decode(match[1]!));
  if (!header.success) throw malformed(`header: ${header.error.issues[0]?.path.join('.')}`);
  const claims = Claims.safeParse(decode(match[2]!));
  if (!claims.success) throw malformed(`claims: ${claims.error.issues[0]?.path.join('.')}`);
  return {
    header: header.data,
    claims: claims.data,
    input: `${match[1]}.${match[2]}`,
    signature: Buffer.from(match[3]!, 'base64url'),
  };
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

function keyOf(jwk: DpopKey['jwk']): KeyObject {
  try {
    return createPublicKey({ key: { ...jwk }, format: 'jwk' });
  } catch (cause) {
    throw new MeshpassError('dpop_malformed', 'The key of the DPoP proof is not a point on P-256.', { cause });
  }
}

/** RFC 9449 section 4.3 ignores query and fragment of `htu`; URL parsing does the normalisation of RFC 3986 section 6.2.2. */
function withoutQuery(htu: string): string | undefined {
  if (!URL.canParse(htu)) return undefined;
  const url = new URL(htu);
  return url.username || url.password ? undefined : url.origin + url.pathname;
}

function malformed(reason: string): MeshpassError {
  return new MeshpassError('dpop_malformed', 'The DPoP proof cannot be read.', { detail: { reason } });
}

function mismatch(what: string, got: string): MeshpassError {
  return new MeshpassError('dpop_mismatch', `The DPoP proof is made for another ${what}.`, { detail: { got } });
}
