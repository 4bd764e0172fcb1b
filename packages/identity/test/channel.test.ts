import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createLeaseProof, parseLeaseProof } from '../src/channel/lease-proof.ts';
import { createStatementReader, grantSet, type Statement, signStatement } from '../src/channel/statement.ts';
import { dpopKey, dpopThumbprint } from '../src/dpop.ts';
import { parseJws, publicKeyOf, signJws, verifyJws } from '../src/jws/es256.ts';

const newKey = () => dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
const key = newKey();
const CLAIMS = { sid: 's-1', seq: 7, at: 1_700_000_000_000 };

function withHeader(header: object, claims: object = CLAIMS): string {
  return signJws(header, claims, key.privateKey);
}
const LEASE = { typ: 'meshpass-lease+jwt', jwk: key.jwk };

describe('lease proof', () => {
  test('is parsed unchanged and verifies with its own key', () => {
    const read = parseLeaseProof(createLeaseProof(CLAIMS, key))!;
    expect(read.claims).toEqual(CLAIMS);
    expect(read.jkt).toBe(dpopThumbprint(key.jwk));
    expect(verifyJws(read.jws, publicKeyOf(read.jwk)!)).toBe(true);
    expect(verifyJws(read.jws, publicKeyOf(newKey().jwk)!)).toBe(false);
  });

  test.each([
    ['of another type: a DPoP proof', withHeader({ ...LEASE, typ: 'dpop+jwt' })],
    ['of another type: a statement', withHeader({ ...LEASE, typ: 'meshpass-statement+jwt' })],
    ['without a key', withHeader({ typ: LEASE.typ })],
    ['with a private key', withHeader({ ...LEASE, jwk: { ...key.jwk, d: key.jwk.x } })],
    ['with another member in its header', withHeader({ ...LEASE, crit: ['exp'] })],
    ['with another member in its claims', withHeader(LEASE, { ...CLAIMS, exp: 1 })],
    ['without a session', withHeader(LEASE, { seq: 1, at: 1 })],
    ['with a sequence number that is no integer', withHeader(LEASE, { ...CLAIMS, seq: 1.5 })],
    ['with a sequence number above the safe integers', withHeader(LEASE, { ...CLAIMS, seq: 2 ** 53 })],
    ['that exceeds the maximum length', withHeader(LEASE, { ...CLAIMS, sid: 'x'.repeat(2_000) })],
    ['with two parts', withHeader(LEASE).replace('.', '')],
    ['with four parts', `${withHeader(LEASE)}.x`],
    ['with a line break', `${withHeader(LEASE)}\n`],
    ['that is empty', ''],
  ])('rejects a proof %s', (_what, proof) => {
    expect(parseLeaseProof(proof)).toBeUndefined();
  });

  test('does not verify a proof with a short signature', () => {
    const read = parseLeaseProof(withHeader(LEASE).slice(0, -1))!;
    expect(verifyJws(read.jws, publicKeyOf(read.jwk)!)).toBe(false);
  });

  test('rejects a proof whose header claims no signature', () => {
    const [, claims, signature] = withHeader(LEASE).split('.');
    const header = Buffer.from(JSON.stringify({ ...LEASE, alg: 'none' })).toString('base64url');
    expect(parseLeaseProof(`${header}.${claims}.${signature}`)).toBeUndefined();
  });

  test('has no verification key if the coordinates are not on the curve', () => {
    expect(publicKeyOf({ ...key.jwk, y: key.jwk.x })).toBeUndefined();
  });
});

describe('statement', () => {
  const signer = { kid: 'k-1', privateKey: key.privateKey };
  const read = createStatementReader([{ ...key.jwk, kid: 'k-1' }]);
  const ended: Statement = { kind: 'ended', sid: 's-1', cause: 'admin', reason: 'an operator ended it' };

  test('is parsed as it was signed', () => {
    expect(read(signStatement(ended, signer))).toEqual({ state: 'verified', statement: ended });
  });

  test('reports an unknown key instead of an invalid statement', () => {
    expect(read(signStatement(ended, { ...signer, kid: 'k-2' }))).toEqual({ state: 'unknown_key' });
  });

  test.each([
    ['signed by another key', signStatement(ended, { kid: 'k-1', privateKey: newKey().privateKey })],
    ['that is a lease proof', signJws({ typ: 'meshpass-lease+jwt', kid: 'k-1' }, ended, key.privateKey)],
    ['that is a DPoP proof', signJws({ typ: 'dpop+jwt', kid: 'k-1' }, ended, key.privateKey)],
    [
      'with its own key in the header',
      signJws({ typ: 'meshpass-statement+jwt', kid: 'k-1', jwk: key.jwk }, ended, key.privateKey),
    ],
    ['with an unknown kind', signJws({ typ: 'meshpass-statement+jwt', kid: 'k-1' }, { kind: 'x' }, key.privateKey)],
    ['with altered claims', changed(signStatement(ended, signer))],
    ['that exceeds the maximum length', signStatement({ ...ended, reason: 'x'.repeat(20_000) }, signer)],
    ['that is empty', ''],
  ])('rejects a statement %s', (_what, text) => {
    expect(read(text)).toEqual({ state: 'invalid' });
  });

  function changed(text: string): string {
    const [header, claims, signature] = text.split('.');
    const other = Buffer.from(JSON.stringify({ ...(parseJws(text)!.claims as object), sid: 's-2' })).toString(
      'base64url',
    );
    expect(other).not.toBe(claims);
    return `${header}.${other}.${signature}`;
  }
});

test('names a set of grants independently of their order', () => {
  expect(grantSet(['dev', 'ops'])).toBe('dev,ops');
  expect(grantSet(['ops', 'dev'])).toBe('dev,ops');
  expect(grantSet(['dev'])).not.toBe(grantSet(['dev', 'ops']));
});
