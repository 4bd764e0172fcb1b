/** Requests whose key is weak, or whose signature does not prove that the sender holds it. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { HostileInput } from '../area.ts';
import { type CsrParts, csr, OID, pem, sequence, tlv } from './der.ts';
import { ask, type CsrWorld } from './world.ts';

const ec = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve });
const rsa = (modulusLength: number, publicExponent = 65_537) =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent });
const spkiOf = ({ publicKey }: { readonly publicKey: KeyObject }): Buffer =>
  publicKey.export({ type: 'spki', format: 'der' });

/** The control is the same request of a P-256 key that signs it, or of the strong key of its kind. */
function input(fault: string, code: string, parts: () => CsrParts, honest: () => CsrParts = () => ({ keys: ec() })) {
  return {
    fault,
    code,
    attack: (world: CsrWorld) => ask(world, pem(csr(parts()))),
    control: (world: CsrWorld) => ask(world, pem(csr(honest()))),
  };
}

const strongRsa = (): CsrParts => ({ keys: rsa(2048) });
const p384 = (): CsrParts => ({ keys: ec('P-384') });

/** A point whose last byte is another: not on the curve. */
function offCurve(): CsrParts {
  const keys = ec();
  const spki = Buffer.from(spkiOf(keys));
  spki[spki.length - 1]! ^= 1;
  return { keys, spki };
}

/** SubjectPublicKeyInfo with the point at infinity, which is one byte. */
function infinity(): CsrParts {
  const algorithm = sequence(Buffer.from('06072a8648ce3d0201', 'hex'), Buffer.from('06082a8648ce3d030107', 'hex'));
  return { keys: ec(), spki: sequence(algorithm, tlv(0x03, Buffer.of(0, 0))) };
}

const explicit = (): CsrParts => ({
  keys: generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }),
});
const zero = tlv(0x02, Buffer.of(0));

export const KEYS: readonly HostileInput<CsrWorld>[] = [
  input('an RSA key of 1024 bits', 'csr_weak_key', () => ({ keys: rsa(1024) }), strongRsa),
  input('an RSA key of 2047 bits', 'csr_weak_key', () => ({ keys: rsa(2047) }), strongRsa),
  input('an RSA key with the exponent 3', 'csr_weak_key', () => ({ keys: rsa(2048, 3) }), strongRsa),
  input('a key of P-521', 'csr_weak_key', () => ({ keys: ec('P-521') }), p384),
  input('a key of P-224', 'csr_', () => ({ keys: ec('secp224r1') }), p384),
  input('a key of secp256k1', 'csr_', () => ({ keys: ec('secp256k1') })),
  input('a key on a curve of its own description', 'csr_', explicit),
  input('an Ed25519 key', 'csr_weak_key', () => ({
    keys: generateKeyPairSync('ed25519'),
    algorithm: Buffer.from('06032b6570', 'hex'),
  })),
  input('an Ed448 key', 'csr_', () => ({
    keys: generateKeyPairSync('ed448'),
    algorithm: Buffer.from('06032b6571', 'hex'),
  })),
  input('a DSA key', 'csr_', () => ({
    keys: generateKeyPairSync('dsa', { modulusLength: 1024, divisorLength: 160 }),
    algorithm: Buffer.from('0609608648016503040302', 'hex'),
  })),
  input('a point that is not on the curve', 'csr_', offCurve),
  input('the point at infinity', 'csr_', infinity),
  input('another key than the one that signed it', 'csr_signature', () => ({ keys: ec(), spki: spkiOf(ec()) })),
  input('a key of another kind than the one that signed it', 'csr_signature', () => ({
    keys: ec(),
    spki: spkiOf(rsa(2048)),
  })),
  input('no signature', 'csr_signature', () => ({ keys: ec(), signature: Buffer.alloc(0) })),
  input('a signature of zeros', 'csr_signature', () => ({ keys: ec(), signature: sequence(zero, zero) })),
  input('a signature of random bytes', 'csr_signature', () => ({ keys: ec(), signature: Buffer.alloc(71, 0x30) })),
  input('a signature with SHA-1', 'csr_signature', () => ({ keys: ec(), digest: 'sha1', algorithm: OID.ecdsaSha1 })),
  input('a signature with SHA-1 that says SHA-256', 'csr_signature', () => ({ keys: ec(), digest: 'sha1' })),
  input(
    'an RSA signature with MD5',
    'csr_',
    () => ({ keys: rsa(2048), digest: 'md5', algorithm: OID.rsaMd5 }),
    strongRsa,
  ),
  input('a signature that says RSA of a P-256 key', 'csr_signature', () => ({ keys: ec(), algorithm: OID.rsaSha256 })),
];
