/** Signs JWTs: RS256, because Envoy verifies it cheapest. Its keys are in one file (key-ring.ts), never in the store. */
import { generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { readKeyFile, replaceKeyFile } from '../secrets/key-file.ts';
import { formatRing, jwksOf, type KeyRing, keysOf, MODULUS_BITS, readRing } from './key-ring.ts';

export interface Signer {
  /**
   * A compact JWS over these claims. It is never of a key that has been dropped by the time it is given out.
   * @param typ of its header, `JWT` where absent
   */
  readonly sign: (claims: Readonly<Record<string, unknown>>, typ?: string) => Promise<string>;
  /** JSON text of the JWK Set (RFC 7517 section 5) of this moment. */
  readonly jwks: string;
  /** Of the key that signs now. */
  readonly kid: string;
  /** Whether a key of this id is published. */
  readonly knows: (kid: string) => boolean;
}

export interface RotatingSigner extends Signer {
  readonly ring: KeyRing;
  /** The file is somebody else's: the broker does not write to it. */
  readonly fixed: boolean;
  /** The file as it is now: another process may have changed it. @throws MeshpassError `config_invalid` */
  readonly read: () => Promise<KeyRing>;
  /** In memory only, for what the file has already. */
  readonly adopt: (ring: KeyRing) => void;
  /** Durably, before it is in force. @throws MeshpassError `config_invalid`; the ring is then as it was */
  readonly replace: (ring: KeyRing) => Promise<void>;
}

const signAsync = promisify<string, Buffer, KeyObject, Buffer>(sign);

/**
 * @param file PEM (PKCS#8 or PKCS#1, RSA of 2048 bits at least)
 * @param own whether the file is the broker's: it makes it, mode 0600, where it is missing, and may change it
 * @throws MeshpassError `config_invalid`
 */
export async function openSigner(file: string, own: boolean): Promise<RotatingSigner> {
  const read = async (): Promise<KeyRing> => {
    const text = await readKeyFile(
      file,
      own ? makeSigningKey : undefined,
      `The signing key file ${file} (--signing-key)`,
    );
    const since = Math.floor((await stat(file)).mtimeMs / 1000);
    return readRing(text, { since, tokenSeconds: 0 });
  };
  let ring = await read();
  let jwks = jwksOf(ring);
  let known = new Set(keysOf(ring).map(({ kid }) => kid));
  const adopt = (next: KeyRing): void => {
    ring = next;
    jwks = jwksOf(ring);
    known = new Set(keysOf(ring).map(({ kid }) => kid));
  };
  return {
    get jwks() {
      return jwks;
    },
    get kid() {
      return ring.signing.kid;
    },
    get ring() {
      return ring;
    },
    knows: (kid) => known.has(kid),
    fixed: !own,
    ...{ read, adopt },
    replace: async (next) => {
      await replaceKeyFile(file, formatRing(next));
      adopt(next);
    },
    sign: async (claims, typ = 'JWT') => {
      for (;;) {
        const { kid, privateKey } = ring.signing;
        const input = `${encode({ alg: 'RS256', typ, kid })}.${encode(claims)}`;
        // On the thread pool: it takes a third of a millisecond, which the event loop would lose.
        const signature = await signAsync('sha256', Buffer.from(input), privateKey);
        if (known.has(kid)) return `${input}.${signature.toString('base64url')}`;
      }
    },
  };
}

/** A new key, RSA of 2048 bits. */
export async function makeSigningKey(): Promise<KeyObject> {
  return (await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS })).privateKey;
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
