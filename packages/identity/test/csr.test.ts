import 'reflect-metadata';
import { generateKeyPairSync } from 'node:crypto';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import { expect, test } from 'vitest';
import { createCsr } from '../src/certificates.ts';

test('creates a CSR that an independent implementation parses and verifies', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const csr = new Pkcs10CertificateRequest(createCsr(privateKey));
  expect(await csr.verify()).toBe(true);
  expect(csr.subject).toBe('');
  expect(csr.attributes).toHaveLength(0);
  expect(Buffer.from(csr.publicKey.rawData)).toEqual(publicKey.export({ type: 'spki', format: 'der' }));
});
