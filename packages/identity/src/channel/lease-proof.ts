/** What an agent says to keep its session alive: signed by the session's DPoP key, so that no edge can say it. */
import { z } from 'zod';
import { type DpopKey, dpopThumbprint } from '../dpop.ts';
import { PublicKey, type ReadJws, readJws, signJws } from './jws.ts';

/** Longest text of a proof. */
export const MAX_LEASE_PROOF = 2_048;
const TYPE = 'meshpass-lease+jwt';

export const LeaseClaims = z.strictObject({
  /** Id of the session. */
  sid: z.string().min(1).max(64),
  /** Greater than in every proof of the session before. */
  seq: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  /** Unix ms, by the broker's clock as far as the agent knows it. */
  at: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  /** The configuration that the agent has taken last, and what became of it; absent before the first. */
  configuration: z
    .strictObject({
      version: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
      state: z.enum(['applied', 'refused']),
    })
    .optional(),
});
export type LeaseClaims = z.infer<typeof LeaseClaims>;

const Header = z.strictObject({ typ: z.literal(TYPE), alg: z.literal('ES256'), jwk: PublicKey.strict() });

export function createLeaseProof(claims: LeaseClaims, key: DpopKey): string {
  return signJws({ typ: TYPE, jwk: key.jwk }, claims, key.privateKey);
}

export interface ReadLeaseProof {
  readonly jws: ReadJws;
  readonly claims: LeaseClaims;
  readonly jwk: PublicKey;
  /** Thumbprint of the key that it says it was made with: to be compared with the session's before the signature is verified. */
  readonly jkt: string;
}

/** Takes a proof apart; undefined for anything else. Its signature is not verified. */
export function readLeaseProof(text: string): ReadLeaseProof | undefined {
  const jws = text.length > MAX_LEASE_PROOF ? undefined : readJws(text);
  const header = Header.safeParse(jws?.header);
  const claims = LeaseClaims.safeParse(jws?.claims);
  if (!jws || !header.success || !claims.success) return undefined;
  const { jwk } = header.data;
  return { jws, claims: claims.data, jwk, jkt: dpopThumbprint(jwk) };
}
