/**
 * Lease proof: the request that keeps a session alive. It is signed with the session's DPoP key, so an edge cannot
 * forge it.
 */
import { z } from 'zod';
import { type DpopKey, dpopThumbprint } from '../dpop.ts';
import { type ParsedJws, PublicKey, parseJws, signJws } from '../jws/es256.ts';
import { MAX_STATEMENT_LENGTH } from './statement.ts';

/** Maximum length of a proof, characters. */
export const MAX_LEASE_PROOF_LENGTH = 2_048;
const TYPE = 'meshpass-lease+jwt';

export const LeaseClaims = z.strictObject({
  /** Session id. */
  sid: z.string().min(1).max(64),
  /** Sequence number, greater than in every earlier proof of the session. */
  seq: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  /** Agent's estimate of the broker's time, Unix ms. */
  at: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
});
export type LeaseClaims = z.infer<typeof LeaseClaims>;

const Header = z.strictObject({ typ: z.literal(TYPE), alg: z.literal('ES256'), jwk: PublicKey.strict() });

/** Signs a lease proof with the session's DPoP key. */
export function createLeaseProof(claims: LeaseClaims, key: DpopKey): string {
  return signJws({ typ: TYPE, jwk: key.jwk }, claims, key.privateKey);
}

export interface ParsedLeaseProof {
  readonly jws: ParsedJws;
  readonly claims: LeaseClaims;
  readonly jwk: PublicKey;
  /** Thumbprint of the key in the proof's header. Compare it with the session's key before verifying the signature. */
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

/** Maximum number of leases per request. */
export const MAX_LEASES = 500;

export const LeaseRenewal = z.object({
  /** Session to renew. An edge sends the session of the SVID that opened the connection. */
  session_id: z.string().min(1).max(64),
  /** The bound is twice the limit, so that an overlong proof is rejected individually and does not fail the batch. */
  proof: z.string().max(MAX_LEASE_PROOF_LENGTH * 2),
});
export type LeaseRenewal = z.infer<typeof LeaseRenewal>;

/** Body of `POST /leases`: one agent's lease, or all leases that an edge has collected. */
export const LeaseRequest = z.object({ leases: z.array(LeaseRenewal).min(1).max(MAX_LEASES) });
export type LeaseRequest = z.infer<typeof LeaseRequest>;

export const LeaseAnswer = z.object({
  session_id: z.string(),
  /** Statement for the agent. */
  statement: z.string().max(MAX_STATEMENT_LENGTH).optional(),
  error_code: z.string().max(64).optional(),
});
export type LeaseAnswer = z.infer<typeof LeaseAnswer>;

/** Response of `POST /leases`. The answers are in the same order as the leases. */
export const LeaseResponse = z.object({ answers: z.array(LeaseAnswer).max(MAX_LEASES) });
