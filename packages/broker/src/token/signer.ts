/**
 * The keys that sign JWTs: RS256, because Envoy verifies it cheapest. They live in one PEM file, never in the store.
 * A file may hold several: the first signs, all are published, so a new key is put in front and the old one taken out
 * when its last token has expired.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { MeshpassError } from '@meshpass/identity';
import { readKeyFile } from '../key-file.ts';

export interface Signer {
  /** A compact JWS over these claims. @param typ of its header, `JWT` where absent */
  readonly sign: (claims: Readonly<Record<string, unknown>>, typ?: string) => Promise<string>;
  /** JSON text of the JWK Set (RFC 7517 section 5), stable for the same keys. */
  readonly jwks: string;
  readonly kid: string;
}

const MODULUS_BITS = 2048;
const signAsync = promisify<string, Buffer, KeyObject, Buffer>(sign);

/**
 * @param file PEM (PKCS#8 or PKCS#1, RSA of 2048 bits at least)
 * @param generate whether to make the file, mode 0600, where it is missing
 * @throws MeshpassError `config_invalid`
 */
export async function openSigner(file: string, generate: boolean): Promise<Signer> {
  const keys = splitPem(
    await readKeyFile(file, generate ? makeKey : undefined, 'The signing key file cannot be read.'),
  ).map(readKey);
  const [first] = keys;
  if (!first) throw new MeshpassError('config_invalid', 'The signing key file holds no private key.');
  const jwks = keys.map((key) => publicJwk(key));
  const kid = jwks[0]!.kid;
  return {
    kid,
    jwks: JSON.stringify({ keys: jwks }),
    // On the thread pool: it takes a third of a millisecond, which the event loop would lose.
    sign: async (claims, typ = 'JWT') => {
      const input = `${encode({ alg: 'RS256', typ, kid })}.${encode(claims)}`;
      const signature = await signAsync('sha256', Buffer.from(input), first);
      return `${input}.${signature.toString('base64url')}`;
    },
  };
}

async function makeKey(): Promise<KeyObject> {
  return (await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS })).privateKey;
}

function splitPem(text: string): string[] {
  return text.match(/-----BEGIN (?:RSA )?PRIVATE KEY-----[\s\S]+?-----END (?:RSA )?PRIVATE KEY-----/g) ?? [];
}

function readKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause of the parser may quote the file.
    throw new MeshpassError('config_invalid', 'The signing key file holds a key that cannot be read.');
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa' || bits < MODULUS_BITS)
    throw new MeshpassError('config_invalid', `Signing keys must be RSA of at least ${MODULUS_BITS} bits.`);
  return key;
}

/** `kid` is the RFC 7638 thumbprint: the same key has the same name everywhere. */
function publicJwk(key: KeyObject) {
  const { n, e } = createPublicKey(key).export({ format: 'jwk' }) as { n: string; e: string };
  const kid = createHash('sha256').update(`{"e":"${e}","kty":"RSA","n":"${n}"}`).digest('base64url');
  return { kty: 'RSA', use: 'sig', alg: 'RS256', kid, n, e } as const;
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
