import 'reflect-metadata';
import { generateKeyPairSync, type webcrypto } from 'node:crypto';
import { createCsr, MeshpassError } from '@meshpass/identity';
import {
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';
import { describe, expect, it } from 'vitest';
import { checkCsr } from '../../src/mesh/istiod/check-csr.ts';

const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function code(pem: string): Promise<string> {
  return checkCsr(pem).then(
    ({ key }) => `accepted ${key}`,
    (error: MeshpassError) => {
      expect(error).toBeInstanceOf(MeshpassError);
      return error.code;
    },
  );
}

async function request(
  algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams,
  hash = 'SHA-256',
): Promise<string> {
  const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const signingAlgorithm = { ...algorithm, hash };
  return (await Pkcs10CertificateRequestGenerator.create({ name: 'CN=x', keys, signingAlgorithm })).toString('pem');
}
const rsa = (modulusLength: number, exponent = [1, 0, 1]) =>
  request({ name: 'RSASSA-PKCS1-v1_5', modulusLength, publicExponent: new Uint8Array(exponent), hash: 'SHA-256' });

describe('a certificate request', () => {
  it('of the agent is accepted, with its public key', async () => {
    const { privateKey, publicKey } = p256();
    const checked = await checkCsr(createCsr(privateKey));
    expect(checked.key).toBe('P-256');
    expect(checked.publicKey).toEqual(publicKey.export({ type: 'spki', format: 'der' }));
    expect(new Pkcs10CertificateRequest(checked.pem).subject).toBe('');
  });

  it.each([
    ['P-256', () => request({ name: 'ECDSA', namedCurve: 'P-256' })],
    ['P-384', () => request({ name: 'ECDSA', namedCurve: 'P-384' }, 'SHA-384')],
    ['RSA-2048', () => rsa(2048)],
  ])('with a key %s is accepted', async (key, make) => {
    expect(await code(await make())).toBe(`accepted ${key}`);
  });

  it.each([
    ['RSA of 1024 bits', () => rsa(1024)],
    ['RSA with exponent 3', () => rsa(2048, [3])],
    ['P-521', () => request({ name: 'ECDSA', namedCurve: 'P-521' }, 'SHA-512')],
  ])('with a key %s is weak', async (_, make) => {
    expect(await code(await make())).toBe('csr_weak_key');
  });

  it('may name others, because it is ignored', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const names = new SubjectAlternativeNameExtension([{ type: 'dns', value: 'orders.shop' }]);
    const made = await Pkcs10CertificateRequestGenerator.create({
      keys,
      signingAlgorithm: algorithm,
      extensions: [names],
    });
    expect(await code(made.toString('pem'))).toBe('accepted P-256');
  });

  it('whose key was exchanged for another has no proof of possession', async () => {
    const mine = Buffer.from(new Pkcs10CertificateRequest(createCsr(p256().privateKey)).rawData);
    const other = p256().publicKey.export({ type: 'spki', format: 'der' });
    const at = mine.indexOf(other.subarray(0, 26));
    other.copy(mine, at);
    expect(await code(new Pkcs10CertificateRequest(mine).toString('pem'))).toBe('csr_signature');
  });

  it('with one bit turned in its signature is refused', async () => {
    const bytes = Buffer.from(new Pkcs10CertificateRequest(createCsr(p256().privateKey)).rawData);
    bytes[bytes.length - 1]! ^= 1;
    expect(await code(new Pkcs10CertificateRequest(bytes).toString('pem'))).toBe('csr_signature');
  });

  it.each([
    ['another hash', /06082a8648ce3d040302/, '06082a8648ce3d040301', 'csr_signature'],
    ['unused bits', /(034[4-9])00(304[1-6])/, '$101$2', 'csr_malformed'],
  ])('with a signature of %s is refused', async (_, from, to, refused) => {
    const hex = Buffer.from(new Pkcs10CertificateRequest(createCsr(p256().privateKey)).rawData).toString('hex');
    expect(hex).toMatch(from);
    const body = Buffer.from(hex.replace(from, to), 'hex').toString('base64');
    const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${body}\n-----END CERTIFICATE REQUEST-----\n`;
    expect(await code(pem)).toBe(refused);
  });

  it('with the parameters of P-256 instead of its name is malformed', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' });
    expect(await code(createCsr(privateKey))).toBe('csr_malformed');
  });

  it('with a compressed point is malformed', async () => {
    const pem = `-----BEGIN CERTIFICATE REQUEST-----
MIGnME4CAQAwDDEKMAgGA1UEAwwBeDA5MBMGByqGSM49AgEGCCqGSM49AwEHAyIA
ArX9QDKe+rr3+os44y8+i/OeCKonR+s8Jzv11qdW5g0ioAAwCgYIKoZIzj0EAwID
SQAwRgIhAOU2wiliQ0GZfIMIEcHMuO6wwGKnJuYFE2w0DOQev3InAiEAz4z6nJzb
M0FjsJ535JMsN5IGWYRXwcwb2fJ7DwFOvIE=
-----END CERTIFICATE REQUEST-----
`;
    expect(await code(pem)).toBe('csr_malformed');
  });

  const good = createCsr(p256().privateKey);
  it.each([
    ['nothing', ''],
    ['text', 'please give me a certificate'],
    ['a certificate request in name only', good.replace(/\n[\s\S]*\n-----END/, '\nAAAA\n-----END')],
    ['half of one', good.replace(/^(.*\n.*\n)[\s\S]*(-----END[\s\S]*)$/, '$1$2')],
    ['two', good + good],
    ['one with something before it', `From: me\n${good}`],
    ['a private key', p256().privateKey.export({ type: 'pkcs8', format: 'pem' }) as string],
    ['DER', Buffer.from(good).toString('base64')],
  ])('that is %s is malformed', async (_, pem) => {
    expect(await code(pem)).toBe('csr_malformed');
  });

  it('of more than 8 KiB is too large, regardless of its content', async () => {
    expect(await code(`${good}${' '.repeat(8192)}`)).toBe('csr_too_large');
  });
});
