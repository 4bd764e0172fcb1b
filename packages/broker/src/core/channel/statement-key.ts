/**
 * Derives the key that signs the broker's statements to agents from the key that signs identity tokens. All broker
 * processes therefore share it, it rotates together with that key, and agents do not need a new key after a restart. A
 * separate key is used because every heartbeat needs a signature, and signing with ES256 is twenty times as fast as
 * with RS256.
 */
import { createECDH, createPrivateKey, hkdfSync, type KeyObject } from 'node:crypto';
import { dpopThumbprint } from '@meshpass/identity';
import type { KeyRing } from '../token/key-ring.ts';

export type StatementKeys = ReturnType<typeof createStatementKeys>;

const INFO = 'meshpass statement key v1';
/** The order of P-256 (SP 800-186 section 3.2.1.3). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
/** The length of the order plus 64 bits, in bytes (FIPS 186-5 appendix A.2.1). */
const SEED_BYTES = 40;

/** Creates a source of statement keys. Each key is derived once and then cached. */
export function createStatementKeys(signer: { readonly ring: KeyRing }) {
  const derived = new Map<string, ReturnType<typeof deriveStatementKey>>();
  const keyOf = ({ kid, privateKey }: { readonly kid: string; readonly privateKey: KeyObject }) => {
    const known = derived.get(kid) ?? deriveStatementKey(privateKey);
    derived.set(kid, known);
    return known;
  };
  return {
    /** Returns the key derived from the current signing key for identity tokens. */
    signing: () => keyOf(signer.ring.signing),
    /** Returns the current and the next public key, which agents use to verify statements. */
    published: () => {
      const { signing, next } = signer.ring;
      return [signing, next].map((key) => keyOf(key).published);
    },
  };
}

/**
 * Derives a P-256 statement key from a signing key.
 * @param secret the RSA private key
 */
function deriveStatementKey(secret: KeyObject) {
  const material = secret.export({ type: 'pkcs8', format: 'der' });
  const seed = Buffer.from(hkdfSync('sha256', material, Buffer.alloc(0), INFO, SEED_BYTES));
  const scalar = (BigInt(`0x${seed.toString('hex')}`) % (ORDER - 1n)) + 1n;
  const d = Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex');
  const ecdh = createECDH('prime256v1');
  ecdh.setPrivateKey(d);
  const point = ecdh.getPublicKey();
  const x = point.subarray(1, 33).toString('base64url');
  const y = point.subarray(33).toString('base64url');
  const jwk = { kty: 'EC', crv: 'P-256', x, y } as const;
  const kid = dpopThumbprint(jwk);
  const privateKey = createPrivateKey({ key: { ...jwk, d: d.toString('base64url') }, format: 'jwk' });
  return { kid, privateKey, published: { ...jwk, kid } };
}
