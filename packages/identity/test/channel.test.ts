import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { publicKeyOf, readJws, signJws, verifyJws } from '../src/channel/jws.ts';
import { createLeaseProof, readLeaseProof } from '../src/channel/lease-proof.ts';
import { createStatementReader, grantSet, type Statement, signStatement } from '../src/channel/statement.ts';
import { dpopKey, dpopThumbprint } from '../src/dpop.ts';

const newKey = () => dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
const key = newKey();
const CLAIMS = { sid: 's-1', seq: 7, at: 1_700_000_000_000 };

function withHeader(header: object, claims: object = CLAIMS): string {
  return signJws(header, claims, key.privateKey);
}
const LEASE = { typ: 'meshpass-lease+jwt', jwk: key.jwk };

describe('the proof of a lease', () => {
  test('is read as it was made, and verifies by the key in it', () => {
    const claims = { ...CLAIMS, configuration: { version: 3, state: 'applied' as const } };
    const read = readLeaseProof(createLeaseProof(claims, key))!;
    expect(read.claims).toEqual(claims);
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
    ['with a sequence number beyond what is exact', withHeader(LEASE, { ...CLAIMS, seq: 2 ** 53 })],
    ['with an unknown state', withHeader(LEASE, { ...CLAIMS, configuration: { version: 1, state: 'x' } })],
    ['that is too long', withHeader(LEASE, { ...CLAIMS, sid: 'x'.repeat(2_000) })],
    ['that is not three parts', withHeader(LEASE).replace('.', '')],
    ['of four parts', `${withHeader(LEASE)}.x`],
    ['with a line break', `${withHeader(LEASE)}\n`],
    ['with a short signature', withHeader(LEASE).slice(0, -1)],
    ['that is nothing', ''],
  ])('is not read when it is one %s', (_what, proof) => {
    expect(readLeaseProof(proof)).toBeUndefined();
  });

  test('is not read when it says that it is not signed', () => {
    const [, claims, signature] = withHeader(LEASE).split('.');
    const header = Buffer.from(JSON.stringify({ ...LEASE, alg: 'none' })).toString('base64url');
    expect(readLeaseProof(`${header}.${claims}.${signature}`)).toBeUndefined();
  });

  test('of a key that is no point of the curve has no key to verify by', () => {
    expect(publicKeyOf({ ...key.jwk, y: key.jwk.x })).toBeUndefined();
  });
});

describe('a statement', () => {
  const signer = { kid: 'k-1', privateKey: key.privateKey };
  const read = createStatementReader([{ ...key.jwk, kid: 'k-1' }]);
  const ended: Statement = { kind: 'ended', sid: 's-1', cause: 'admin', reason: 'an operator ended it' };

  test('is read as it was signed', () => {
    expect(read(signStatement(ended, signer))).toEqual({ state: 'verified', statement: ended });
  });

  test('of an unknown key is neither believed nor called a lie', () => {
    expect(read(signStatement(ended, { ...signer, kid: 'k-2' }))).toEqual({ state: 'unknown_key' });
  });

  test.each([
    ['signed by another key', signStatement(ended, { kid: 'k-1', privateKey: newKey().privateKey })],
    ['that is a lease proof', signJws({ typ: 'meshpass-lease+jwt', kid: 'k-1' }, ended, key.privateKey)],
    ['that is a DPoP proof', signJws({ typ: 'dpop+jwt', kid: 'k-1' }, ended, key.privateKey)],
    [
      'that brings its own key',
      signJws({ typ: 'meshpass-statement+jwt', kid: 'k-1', jwk: key.jwk }, ended, key.privateKey),
    ],
    ['of an unknown kind', signJws({ typ: 'meshpass-statement+jwt', kid: 'k-1' }, { kind: 'x' }, key.privateKey)],
    ['with claims that were changed', changed(signStatement(ended, signer))],
    ['that is longer than any', signStatement({ ...ended, reason: 'x'.repeat(20_000) }, signer)],
    ['that is nothing', ''],
  ])('is invalid when it is one %s', (_what, text) => {
    expect(read(text)).toEqual({ state: 'invalid' });
  });

  function changed(text: string): string {
    const [header, claims, signature] = text.split('.');
    const other = Buffer.from(JSON.stringify({ ...(readJws(text)!.claims as object), sid: 's-2' })).toString(
      'base64url',
    );
    expect(other).not.toBe(claims);
    return `${header}.${other}.${signature}`;
  }
});

test('a set of grants has one name, whatever their order', () => {
  expect(grantSet(['dev', 'ops'])).toBe('dev,ops');
  expect(grantSet(['ops', 'dev'])).toBe('dev,ops');
  expect(grantSet(['dev'])).not.toBe(grantSet(['dev', 'ops']));
});
