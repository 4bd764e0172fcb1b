/**
 * Verifies that the answer from a Codespace's port was signed by the holder of the DPoP key, for this challenge and
 * this broker.
 */
import { dpopThumbprint, PRESENCE_TYPE } from '@meshpass/identity';
import { PublicKey, publicKeyOf, readJws, verifyJws } from '@meshpass/identity/jws/es256';
import { z } from 'zod';
import { equalInConstantTime } from '../../base/index.ts';
import { CHALLENGE_SECONDS } from './challenges.ts';

export interface ExpectedAnswer {
  /** Thumbprint of the key that signed the exchange's DPoP proof. */
  readonly jkt: string;
  readonly nonce: string;
  readonly path: string;
  /** Public URL of this broker. */
  readonly broker: string;
  readonly codespaceName: string;
  /** Exchange that offered a port (`exchangeOf`); undefined if the challenge was sent with a refusal. */
  readonly exchange: string | undefined;
  /** Unix seconds. */
  readonly now: number;
}

/** Tolerated error in the agent's estimate of the broker's clock, seconds. */
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

/** @returns what is wrong with the answer, for the log and the audit log; undefined if it is valid */
export function faultOfAnswer(body: string, expected: ExpectedAnswer): string | undefined {
  const jws = readJws(body);
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
