/**
 * Lease proofs, which are the requests that keep a session alive. They are signed with the session's DPoP key, so an
 * edge cannot forge them.
 */
import { z } from 'zod';
import { type DpopKey, dpopThumbprint } from '../dpop.ts';
import { type ParsedJws, parseJws, signJws } from '../jws/es256.ts';
import { PublicKey } from '../schema/fields.ts';
import { MAX_STATEMENT_LENGTH } from './statement.ts';

/** The maximum length of a proof in characters. */
export const MAX_LEASE_PROOF_LENGTH = 2_048;
const TYPE = 'meshpass-lease+jwt';

const LeaseClaims = z.strictObject({
  /** The session id. */
  sid: z.string().min(1).max(64),
  /** The sequence number, which must be greater than in all earlier proofs of the session. */
  seq: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  /** The agent's estimate of the broker's time, in Unix milliseconds. */
  at: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
});
type LeaseClaims = z.infer<typeof LeaseClaims>;

const Header = z.strictObject({ typ: z.literal(TYPE), alg: z.literal('ES256'), jwk: PublicKey.strict() });

/** Signs a lease proof with the session's DPoP key. */
export function createLeaseProof(claims: LeaseClaims, key: DpopKey): string {
  return signJws({ typ: TYPE, jwk: key.jwk }, claims, key.privateKey);
}

export interface ParsedLeaseProof {
  readonly jws: ParsedJws;
  readonly claims: LeaseClaims;
  readonly jwk: PublicKey;
  /**
   * The thumbprint of the key in the proof's header. Compare it with the session's key before verifying the signature.
   */
  readonly jkt: string;
}

/** Parses a lease proof without verifying its signature. Returns undefined if the text is not a lease proof. */
export function parseLeaseProof(text: string): ParsedLeaseProof | undefined {
  const jws = text.length > MAX_LEASE_PROOF_LENGTH ? undefined : parseJws(text);
  const header = Header.safeParse(jws?.header);
  const claims = LeaseClaims.safeParse(jws?.claims);
  if (!jws || !header.success || !claims.success) return undefined;
  const { jwk } = header.data;
  return { jws, claims: claims.data, jwk, jkt: dpopThumbprint(jwk) };
}

/** The maximum number of leases in a request. */
export const MAX_LEASES = 500;

export const LeaseRenewal = z.object({
  /** The session to renew. An edge sends the session whose SVID was used to open the connection. */
  session_id: z.string().min(1).max(64),
  /**
   * The bound is twice the limit, so that a proof that is too long is rejected on its own and the rest of the batch
   * succeeds.
   */
  proof: z.string().max(MAX_LEASE_PROOF_LENGTH * 2),
});
export type LeaseRenewal = z.infer<typeof LeaseRenewal>;

/**
 * The request body of `POST /leases`. It contains the lease of a single agent, or all leases that an edge has
 * collected.
 */
export const LeaseRequest = z.object({ leases: z.array(LeaseRenewal).min(1).max(MAX_LEASES) });

export const LeaseAnswer = z.object({
  session_id: z.string(),
  /** The statement for the agent. */
  statement: z.string().max(MAX_STATEMENT_LENGTH).optional(),
  error_code: z.string().max(64).optional(),
});
export type LeaseAnswer = z.infer<typeof LeaseAnswer>;

/** The response to `POST /leases`. The answers are in the same order as the leases in the request. */
export const LeaseResponse = z.object({ answers: z.array(LeaseAnswer).max(MAX_LEASES) });
