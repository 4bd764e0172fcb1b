/**
 * The broker's keys for signing tokens. One key signs, the next key is published in advance, and retired keys remain
 * published while their tokens are valid. The keys are stored as a single PEM text. Each key is preceded by a line that
 * states its role (RFC 7468 section 2 allows text between keys), so that keys and roles are updated atomically. For
 * retired keys, only the public half is stored. The next key is not stored at all. Its private half exists only in the
 * memory of the active broker, so a stolen copy of the text does not contain the key that replaces the stolen one.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';

/** The key that currently signs tokens. All times are in Unix seconds. */
export interface SigningKey extends Identified {
  readonly privateKey: KeyObject;
  /** When this key became the signing key. */
  readonly since: number;
  /** The longest lifetime of any token that has been signed with this key so far, in seconds. */
  readonly tokenSeconds: number;
}

/**
 * The key that will be used for signing after the next rotation. Verifiers receive it in advance, so they accept its
 * tokens even after an immediate rotation.
 */
export interface NextKey extends Identified {
  readonly privateKey: KeyObject;
  /** When the mesh was first known to have the key, in Unix seconds. */
  readonly publishedAt?: number | undefined;
}

/** A key that is no longer used for signing, but whose tokens may still be valid. */
export interface RetiredKey extends Identified {
  /** When the last token that was signed with this key expires, in Unix seconds. */
  readonly until: number;
}

interface Identified {
  /** The RFC 7638 thumbprint, which identifies the key everywhere. */
  readonly kid: string;
  readonly publicKey: KeyObject;
}

/** The keys that survive a restart. */
export interface StoredKeys {
  readonly signing: SigningKey;
  readonly retired: readonly RetiredKey[];
  /** When an operator requested the pending rotation, in Unix seconds. Absent if no rotation is pending. */
  readonly requestedAt?: number | undefined;
}

/** The stored keys, plus the next key. */
export interface KeyRing extends StoredKeys {
  readonly next: NextKey;
}

/** The size of generated keys, in bits. Stored keys must be at least this large. */
export const MODULUS_BITS = 2048;
/** The clock skew that verifiers tolerate, in seconds. Envoy accepts a token for a minute after its `exp`. */
export const SKEW_SECONDS = 60;

const unixSeconds = z.number().int().nonnegative();
const Part = z.discriminatedUnion('part', [
  z.strictObject({ part: z.literal('signing'), since: unixSeconds, tokenSeconds: unixSeconds }),
  z.strictObject({ part: z.literal('retired'), until: unixSeconds }),
]);
type Part = z.infer<typeof Part>;

const MARK = 'Meshpass-Key: ';
/** Matches the line that identifies the last broker to write the Secret (see key-storage.ts). */
const WRITER = /^Meshpass-Broker: .*\n/;
/** Matches the line that records a requested rotation. */
const REQUESTED = /^Meshpass-Rotation-Requested-At: (\d{1,12})$/m;
const BLOCK = /^Meshpass-Key: (.*)\n(-----BEGIN (PRIVATE|PUBLIC) KEY-----[\s\S]+?-----END \3 KEY-----)/gm;

/**
 * Parses stored keys, as written by `serializeKeys`.
 * @throws MeshpassError `config_invalid`
 */
export function parseKeys(text: string): StoredKeys {
  let signing: SigningKey | undefined;
  const digits = REQUESTED.exec(text)?.[1];
  const requestedAt = digits === undefined ? undefined : Number(digits);
  const retired: RetiredKey[] = [];
  for (const [, mark, pem] of text.matchAll(BLOCK)) {
    const part = readPart(mark!);
    if (part.part === 'retired') {
      retired.push({ ...identified(readKey(pem!, createPublicKey)), until: part.until });
      continue;
    }
    const privateKey = readKey(pem!, createPrivateKey);
    const { since, tokenSeconds } = part;
    signing = { ...identified(createPublicKey(privateKey)), privateKey, since, tokenSeconds };
  }
  if (!signing) throw wrong('they do not include a private signing key');
  const keys = { signing, retired, requestedAt };
  // The broker later overwrites the text with the keys that were parsed. Reject any other content instead of erasing
  // it.
  if (serializeKeys(keys) !== text.replace(WRITER, ''))
    throw wrong('they contain text that was changed or not written by a broker');
  return keys;
}

/** Serializes the keys for storage, starting with the signing key. */
export function serializeKeys({ signing, retired, requestedAt }: StoredKeys): string {
  const mark = (part: Part) => `${MARK}${JSON.stringify(part)}\n`;
  const { since, tokenSeconds, privateKey } = signing;
  return [
    requestedAt === undefined ? '' : `Meshpass-Rotation-Requested-At: ${requestedAt}\n`,
    mark({ part: 'signing', since, tokenSeconds }) + privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ...retired.map(
      ({ publicKey, until }) =>
        mark({ part: 'retired', until }) + publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ),
  ].join('');
}

/** Serializes the published keys as a JWK Set (RFC 7517 section 5). The same ring always produces the same text. */
export function serializeJwks(ring: KeyRing): string {
  return JSON.stringify({ keys: publishedKeys(ring).map(publicJwk) });
}

/** Returns all published keys, starting with the signing key. */
export function publishedKeys({ signing, next, retired }: KeyRing): readonly (SigningKey | NextKey | RetiredKey)[] {
  return [signing, next, ...retired];
}

/** Returns the public JWK of a key. */
export function publicJwk({ kid, publicKey }: Identified) {
  const { n, e } = publicKey.export({ format: 'jwk' }) as { n: string; e: string };
  return { kty: 'RSA', use: 'sig', alg: 'RS256', kid, n, e } as const;
}

/**
 * Makes the next key the signing key, starting at `now`. The previous signing key stays published until the last of its
 * tokens has expired.
 * @param tokenSeconds the lifetime of new tokens, in seconds
 */
export function signWithNext({ signing, next, retired }: KeyRing, now: number, tokenSeconds: number): StoredKeys {
  const { kid, publicKey } = signing;
  const until = now + signing.tokenSeconds + SKEW_SECONDS;
  return { signing: asSigning(next, now, tokenSeconds), retired: [...retired, { kid, publicKey, until }] };
}

/** Makes the next key the signing key, and drops all other keys. */
export function signWithNextOnly({ next }: KeyRing, now: number, tokenSeconds: number): StoredKeys {
  return { signing: asSigning(next, now, tokenSeconds), retired: [] };
}

/** Creates the initial keys: a signing key and no retired keys. */
export function initialKeys(privateKey: KeyObject, now: number, tokenSeconds: number): StoredKeys {
  return { signing: asSigning(toNextKey(privateKey), now, tokenSeconds), retired: [] };
}

/** Creates a next key from a private key. */
export function toNextKey(privateKey: KeyObject): NextKey {
  return { ...identified(createPublicKey(privateKey)), privateKey };
}

function asSigning({ kid, publicKey, privateKey }: NextKey, since: number, tokenSeconds: number): SigningKey {
  return { kid, publicKey, privateKey, since, tokenSeconds };
}

function readPart(text: string): Part {
  try {
    return Part.parse(JSON.parse(text));
  } catch {
    throw wrong('a line that describes a key is malformed');
  }
}

function readKey(pem: string, create: (pem: string) => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = create(pem);
  } catch {
    // The parser's error is not attached, because it may quote key material.
    throw wrong('a key is malformed');
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa' || bits < MODULUS_BITS)
    throw new MeshpassError('config_invalid', `Signing keys must be RSA keys of at least ${MODULUS_BITS} bits.`);
  return key;
}

function identified(publicKey: KeyObject): Identified {
  const { n, e } = publicKey.export({ format: 'jwk' }) as { n: string; e: string };
  const kid = createHash('sha256').update(`{"e":"${e}","kty":"RSA","n":"${n}"}`).digest('base64url');
  return { kid, publicKey };
}

function wrong(why: string): MeshpassError {
  return new MeshpassError('config_invalid', `Cannot use the stored signing keys: ${why}.`);
}
