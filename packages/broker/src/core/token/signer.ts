/**
 * Signs JWTs with RS256, the algorithm that Envoy verifies fastest. The keys are not kept in the store (see
 * key-ring.ts).
 */
import { generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import {
  initialKeys,
  type KeyRing,
  MODULUS_BITS,
  parseKeys,
  publishedKeys,
  type StoredKeys,
  serializeJwks,
  serializeKeys,
  toNextKey,
} from './key-ring.ts';
import type { KeyStorage } from './key-storage.ts';

/** Signs tokens, and publishes and replaces the signing keys. */
export type RotatingSigner = Awaited<ReturnType<typeof openSigner>>;

const signAsync = promisify<string, Buffer, KeyObject, Buffer>(sign);

/**
 * Opens the signer. Reads the stored keys, or creates and stores the first key if there are none. Then generates the
 * next key.
 * @throws MeshpassError the errors of the storage
 */
export async function openSigner(storage: KeyStorage) {
  const read = async (): Promise<StoredKeys> => {
    const found = await storage.read();
    if (found !== undefined) return parseKeys(found);
    const made = initialKeys(await generateSigningKey(), Math.floor(Date.now() / 1000), 0);
    await storage.write(serializeKeys(made));
    return made;
  };
  const [keys, next] = await Promise.all([read(), generateSigningKey()]);
  let ring: KeyRing = { ...keys, next: toNextKey(next) };
  let jwks = serializeJwks(ring);
  let known = new Set(publishedKeys(ring).map(({ kid }) => kid));
  const adopt = (other: KeyRing): void => {
    ring = other;
    jwks = serializeJwks(ring);
    known = new Set(publishedKeys(ring).map(({ kid }) => kid));
  };
  return {
    /** The current JWK Set, as JSON text (RFC 7517 section 5). */
    get jwks() {
      return jwks;
    },
    /** The id of the current signing key. */
    get kid() {
      return ring.signing.kid;
    },
    get ring() {
      return ring;
    },
    /** Returns whether a key with this id is published. */
    knows: (kid: string) => known.has(kid),
    /**
     * Reads the stored keys, which may have been changed by another broker.
     * @throws MeshpassError the errors of the storage
     */
    read,
    /** Replaces the ring in memory only. Use this for keys that are already stored. */
    adopt,
    /**
     * Stores all keys except the next one, and then activates the ring.
     * @throws MeshpassError the errors of the storage. In this case, the ring is unchanged.
     */
    replace: async (other: KeyRing) => {
      await storage.write(serializeKeys(other));
      adopt(other);
    },
    /**
     * Signs claims as a compact JWS. If the key is dropped before the signature is ready, the claims are signed again
     * with the new key.
     * @param typ the `typ` header
     */
    sign: async (claims: Readonly<Record<string, unknown>>, typ = 'JWT') => {
      for (;;) {
        const { kid, privateKey } = ring.signing;
        const input = `${encode({ alg: 'RS256', typ, kid })}.${encode(claims)}`;
        // Sign on the thread pool, because signing would block the event loop for a third of a millisecond.
        const signature = await signAsync('sha256', Buffer.from(input), privateKey);
        if (known.has(kid)) return `${input}.${signature.toString('base64url')}`;
      }
    },
  };
}

/** Generates a 2048-bit RSA key. */
export async function generateSigningKey(): Promise<KeyObject> {
  return (await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS })).privateKey;
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
