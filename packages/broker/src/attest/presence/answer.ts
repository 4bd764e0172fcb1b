/** Whether what answered on a Codespace's port was signed by the holder of the DPoP key, for this challenge and this broker. */
import { createPublicKey, verify } from 'node:crypto';
import { type DpopKey, dpopThumbprint, PRESENCE_TYPE } from '@meshpass/identity';
import { z } from 'zod';
import { equalInConstantTime } from '../../secrets/constant-time.ts';
import { CHALLENGE_SECONDS } from './challenges.ts';

export interface ExpectedAnswer {
  /** Thumbprint of the key that made the exchange's DPoP proof. */
  readonly jkt: string;
  readonly nonce: string;
  readonly path: string;
  /** Public URL of this broker. */
  readonly broker: string;
  readonly codespaceName: string;
  /** The exchange that offered to be asked (`exchangeOf`); undefined where a refusal brought the challenge. */
  readonly exchange: string | undefined;
  /** Unix seconds. */
  readonly now: number;
}

/** Seconds by which an agent's idea of the broker's clock may differ from it. */
const DRIFT_SECONDS = 60;
const coordinate = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const Header = z.strictObject({
  typ: z.literal(PRESENCE_TYPE),
  alg: z.literal('ES256'),
  jwk: z.strictObject({ kty: z.literal('EC'), crv: z.literal('P-256'), x: coordinate, y: coordinate }),
});
const Claims = z.strictObject({
  aud: z.string().max(2_048),
  nonce: z.string().max(64),
  path: z.string().max(64),
  codespace: z.string().max(100),
  exp: z.number().int(),
  exchange: z.string().max(64).optional(),
});

/** @returns what is wrong with it, for the log and the audit log; undefined where nothing is */
export function faultOfAnswer(body: string, expected: ExpectedAnswer): string | undefined {
  const match = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/.exec(body);
  if (!match) return 'not a compact JWS';
  const header = Header.safeParse(decode(match[1]!));
  if (!header.success) return 'a JWS with an unexpected header';
  const claims = Claims.safeParse(decode(match[2]!));
  if (!claims.success) return 'a JWS with unexpected claims';
  const { jwk } = header.data;
  if (!equalInConstantTime(dpopThumbprint(jwk), expected.jkt)) return 'signed with another key than the DPoP proof';
  const { aud, nonce, path, codespace, exp, exchange } = claims.data;
  if (aud !== expected.broker) return 'made for another broker';
  if (nonce !== expected.nonce) return 'made for another challenge';
  if (path !== expected.path) return 'made for another path';
  if (exchange !== expected.exchange) return 'made for another exchange';
  if (codespace !== expected.codespaceName) return 'made in another Codespace';
  if (exp <= expected.now - DRIFT_SECONDS) return 'expired';
  if (exp > expected.now + CHALLENGE_SECONDS + DRIFT_SECONDS) return 'valid for too long';
  return isSigned(`${match[1]}.${match[2]}`, match[3]!, jwk) ? undefined : 'a JWS with an invalid signature';
}

function isSigned(input: string, signature: string, jwk: DpopKey['jwk']): boolean {
  try {
    const key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
    return verify(
      'sha256',
      Buffer.from(input),
      { key, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    );
  } catch {
    // No point of P-256.
    return false;
  }
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}
