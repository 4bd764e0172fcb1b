/**
 * The keys of the broker's tokens, and what each is there for: one signs, one may be on its way to whoever verifies, and
 * those that signed before are still published while tokens of theirs live. They stand in one PEM file; a line before each
 * key says its part (RFC 7468 section 2 lets text stand between keys), so that file and parts change in one step. Of a key
 * that signs no more only the public half is left.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';

/** All times are Unix seconds. */
export interface SigningKey extends Identified {
  readonly privateKey: KeyObject;
  /** Since when it signs. */
  readonly since: number;
  /** The longest life, in seconds, that any of its tokens was given. */
  readonly tokenSeconds: number;
}

export interface NextKey extends Identified {
  readonly privateKey: KeyObject;
  readonly madeAt: number;
  /** When the mesh had it first. */
  readonly publishedAt?: number | undefined;
}

export interface RetiredKey extends Identified {
  /** When the last of its tokens has expired; absent for a key that somebody else put into the file. */
  readonly until?: number | undefined;
}

interface Identified {
  /** RFC 7638 thumbprint: the same key has the same name everywhere. */
  readonly kid: string;
  readonly publicKey: KeyObject;
}

export interface KeyRing {
  readonly signing: SigningKey;
  readonly next?: NextKey | undefined;
  readonly retired: readonly RetiredKey[];
}

export const MODULUS_BITS = 2048;
/** What verifiers allow for clocks that differ: Envoy accepts a token for a minute after its `exp`. */
const SKEW_SECONDS = 60;

const unixSeconds = z.number().int().nonnegative();
const Part = z.discriminatedUnion('part', [
  z.strictObject({ part: z.literal('signing'), since: unixSeconds, tokenSeconds: unixSeconds }),
  z.strictObject({ part: z.literal('next'), madeAt: unixSeconds, publishedAt: unixSeconds.optional() }),
  z.strictObject({ part: z.literal('retired'), until: unixSeconds.optional() }),
]);
type Part = z.infer<typeof Part>;

const MARK = 'Meshpass-Key: ';
const BLOCK =
  /(?:^Meshpass-Key: (.*)\r?\n)?-----BEGIN ((?:RSA )?PRIVATE|PUBLIC) KEY-----[\s\S]+?-----END \2 KEY-----/gm;

/**
 * @param text of the file. Keys without a line that says their part were put there by somebody else: the first of them
 *   signs, if no other does, and the rest are published
 * @param unmarked what to take for a signing key without such a line
 * @throws MeshpassError `config_invalid`
 */
export function readRing(text: string, unmarked: Pick<SigningKey, 'since' | 'tokenSeconds'>): KeyRing {
  let signing: SigningKey | undefined;
  let next: NextKey | undefined;
  const retired: RetiredKey[] = [];
  for (const [block, mark, kind] of text.matchAll(BLOCK)) {
    const pem = block.slice(block.indexOf('-----BEGIN'));
    const given = mark === undefined ? undefined : readPart(mark);
    if (kind === 'PUBLIC') {
      if (given !== undefined && given.part !== 'retired') throw wrong('a public key is marked to sign');
      retired.push({ ...identified(readKey(pem, createPublicKey)), until: given?.until });
      continue;
    }
    const privateKey = readKey(pem, createPrivateKey);
    const part = given ?? (signing ? { part: 'retired' as const } : { part: 'signing' as const, ...unmarked });
    const key = identified(createPublicKey(privateKey));
    if (part.part === 'retired') retired.push({ ...key, until: part.until });
    else if (part.part === 'next' && !next) next = { ...key, privateKey, ...times(part) };
    else if (part.part === 'signing' && !signing) signing = { ...key, privateKey, ...times(part) };
    else throw wrong(`more than one key is marked ${part.part === 'next' ? 'as the next one' : 'to sign'}`);
  }
  if (!signing) throw wrong('it has no private key that signs');
  return { signing, next, retired };
}

/** The text of the file, the key that signs first. */
export function formatRing({ signing, next, retired }: KeyRing): string {
  const mark = (part: Part) => `${MARK}${JSON.stringify(part)}\n`;
  const secret = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' });
  const { since, tokenSeconds } = signing;
  return [
    mark({ part: 'signing', since, tokenSeconds }) + secret(signing.privateKey),
    ...(next
      ? [mark({ part: 'next', madeAt: next.madeAt, publishedAt: next.publishedAt }) + secret(next.privateKey)]
      : []),
    ...retired.map(
      ({ publicKey, until }) =>
        mark({ part: 'retired', until }) + publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ),
  ].join('');
}

/** JSON text of the JWK Set (RFC 7517 section 5), stable for the same ring. */
export function jwksOf(ring: KeyRing): string {
  return JSON.stringify({ keys: keysOf(ring).map(publicJwk) });
}

/** Every key that is published. */
export function keysOf({ signing, next, retired }: KeyRing): readonly (SigningKey | NextKey | RetiredKey)[] {
  return [signing, ...(next ? [next] : []), ...retired];
}

export function publicJwk({ kid, publicKey }: Identified) {
  const { n, e } = publicKey.export({ format: 'jwk' }) as { n: string; e: string };
  return { kty: 'RSA', use: 'sig', alg: 'RS256', kid, n, e } as const;
}

/** A ring in which the key that was made ahead signs from `now` on. */
export function signWithNext(ring: KeyRing, now: number, tokenSeconds: number): KeyRing {
  const { signing, next, retired } = ring;
  if (!next) throw new MeshpassError('internal', 'There is no next signing key.');
  const { kid, publicKey, privateKey } = next;
  const until = now + signing.tokenSeconds + SKEW_SECONDS;
  return {
    signing: { kid, publicKey, privateKey, since: now, tokenSeconds },
    retired: [...retired, { kid: signing.kid, publicKey: signing.publicKey, until }],
  };
}

/** A ring with nothing in it but a key that signs. */
export function onlyKey(privateKey: KeyObject, now: number, tokenSeconds: number): KeyRing {
  return {
    signing: { ...identified(createPublicKey(privateKey)), privateKey, since: now, tokenSeconds },
    retired: [],
  };
}

export function asNext(privateKey: KeyObject, now: number): NextKey {
  return { ...identified(createPublicKey(privateKey)), privateKey, madeAt: now };
}

function times<T extends Part>({ part: _, ...rest }: T): Omit<T, 'part'> {
  return rest;
}

function readPart(text: string): Part {
  try {
    return Part.parse(JSON.parse(text));
  } catch {
    throw wrong('a line with the purpose of a key cannot be read');
  }
}

function readKey(pem: string, create: (pem: string) => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = create(pem);
  } catch {
    // The cause of the parser may quote the file.
    throw wrong('a key in it cannot be read');
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa' || bits < MODULUS_BITS)
    throw new MeshpassError('config_invalid', `Signing keys must be RSA of at least ${MODULUS_BITS} bits.`);
  return key;
}

function identified(publicKey: KeyObject): Identified {
  const { n, e } = publicKey.export({ format: 'jwk' }) as { n: string; e: string };
  const kid = createHash('sha256').update(`{"e":"${e}","kty":"RSA","n":"${n}"}`).digest('base64url');
  return { kid, publicKey };
}

function wrong(why: string): MeshpassError {
  return new MeshpassError('config_invalid', `The signing key file cannot be used: ${why}.`);
}
