/** An identity provider in memory, and the attestor that trusts it. The real attestor has its own tests. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { MeshpassError, sha256Hex } from '@meshpass/identity';
import { type JWTPayload, jwtVerify, SignJWT } from 'jose';
import type { Attestor } from '../../src/attest/attest.ts';
import type { IssuerKeys } from '../../src/issuers/oidc/issuer-keys.ts';

export interface PlayedIdp {
  readonly attest: Attestor;
  /** Public keys that verify its tokens. */
  readonly keys: IssuerKeys;
  readonly prove: (subject: string, claims?: JWTPayload) => Promise<string>;
  /** First step of attest(). */
  before: () => Promise<void>;
}

const ISSUER = 'https://idp.example';

/** @param privateKey P-256; a new one where absent */
export async function playIdp(privateKey: KeyObject = newIdpKey()): Promise<PlayedIdp> {
  const publicKey = createPublicKey(privateKey);
  const idp: PlayedIdp = {
    before: async () => {},
    keys: { keysOf: async () => async () => publicKey },
    prove: (subject, claims = {}) =>
      new SignJWT({ workspace: `codespace:${subject}`, jti: randomUUID(), ...claims })
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(ISSUER)
        .setAudience(claims.aud ?? 'meshpass')
        .setSubject(subject)
        .setIssuedAt(claims.iat)
        .setExpirationTime(claims.exp ?? '5m')
        .sign(privateKey),
    attest: async (proof) => {
      await idp.before();
      const { payload } = await jwtVerify(proof.token, publicKey, { issuer: ISSUER, audience: 'meshpass' }).catch(
        (cause: unknown) => {
          throw new MeshpassError('proof_signature', 'The proof is not signed by its issuer.', { cause });
        },
      );
      const workspace = String(payload.workspace);
      const attestation = {
        attestor: 'oidc',
        issuer: 'idp',
        subject: `idp:${payload.sub}`,
        login: String(payload.login ?? payload.sub),
        teams: [],
        claims: payload,
        workspace: { kind: 'other', key: workspace, name: `the ${workspace}` },
        proofHash: sha256Hex(proof.token),
        proofExpiresAt: payload.exp!,
      } as const;
      const replay = { key: sha256Hex(String(payload.jti)), expiresAt: new Date(payload.exp! * 1000).toISOString() };
      return { attestation, replay };
    },
  };
  return idp;
}

export function newIdpKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}
