/** Validity periods of certificates, and explanations of refused ones. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { writeCertificate } from '../../broker/test/harness/certificate.ts';
import { certificateValidity } from '../src/certificates.ts';
import { tlsFailure } from '../src/tls-failure.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshpass-life-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe('lifeOf', () => {
  it('returns the validity of the first certificate in a chain, in Unix seconds', async () => {
    const { pem } = await writeCertificate(dir, { from: -3_600_000, until: 7_200_000 });
    const { notBefore, notAfter } = certificateValidity(`${pem}\n${rootCertificates[0]}`);
    expect(notAfter - notBefore).toBe(10_800);
    expect(notAfter - Date.now() / 1000).toBeCloseTo(7_200, -2);
    expect(certificateValidity(Buffer.from(pem))).toEqual({ notBefore, notAfter });
  });

  it('throws if the text contains no certificate', () => {
    expect(() => certificateValidity('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')).toThrow();
  });
});

describe('tlsFailure', () => {
  it.each([
    ['CERT_HAS_EXPIRED', 'its certificate has expired', 'platform team'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is for another name', 'platform team'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate is not trusted here', '--ca-file'],
  ])('explains %s and the next step', (code, what, next) => {
    const failure = tlsFailure(Object.assign(new Error(), { code }));
    expect(failure).toMatchObject({ what, next: expect.stringContaining(next) });
    expect(tlsFailure(code)).toBe(failure);
  });

  it.each([new Error('no code'), undefined, null, { code: 'ECONNREFUSED' }, { code: 'constructor' }])(
    'returns undefined for %o',
    (cause) => {
      expect(tlsFailure(cause)).toBeUndefined();
    },
  );
});
