import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { createReplayMemory, type DpopKey, dpopKey, dpopThumbprint } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { type DpopRequest, verifyDpop } from '../../src/core/token/verify-dpop.ts';

const NOW = 1_800_000_000;
const URL = 'https://broker.example/token';
const TOKEN = 'mps_token';
const ath = createHash('sha256').update(TOKEN).digest('base64url');

const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const key: DpopKey = dpopKey(privateKey);
const jkt = dpopThumbprint(key.jwk);

function proof(claims: object = {}, header: object = {}, signer: KeyObject = privateKey): string {
  const encode = (json: object) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const all = { jti: randomUUID(), htm: 'POST', htu: URL, iat: NOW, ath, ...claims };
  const input = `${encode({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk, ...header })}.${encode(all)}`;
  return `${input}.${sign('sha256', Buffer.from(input), { key: signer, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function verify(text: string | undefined, more: Partial<DpopRequest> = {}): string {
  const replay = createReplayMemory(65, 1_000);
  const request = { method: 'POST', url: URL, now: NOW, startedAt: NOW - 1_000, replay, accessToken: TOKEN, jkt };
  return verifyDpop({ ...request, proof: text, ...more });
}

const code = (act: () => unknown): string => {
  try {
    act();
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('verifyDpop', () => {
  it("accepts a proof by the session's key and gives its thumbprint", () => {
    expect(verify(proof())).toBe(jkt);
  });

  it('ignores query and fragment of htu, and normalises it', () => {
    expect(verify(proof({ htu: `${URL}?a=b#c` }))).toBe(jkt);
    expect(verify(proof({ htu: 'HTTPS://BROKER.example:443/token' }))).toBe(jkt);
  });

  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });

  it.each<[string, string, () => string | undefined]>([
    ['no proof', 'dpop_missing', () => undefined],
    ['two proofs in one header', 'dpop_malformed', () => `${proof()}, ${proof()}`],
    ['something that is no JWS', 'dpop_malformed', () => 'hello'],
    ['a proof of 5 KB', 'dpop_malformed', () => proof({ pad: 'x'.repeat(5_000) })],
    ['alg none', 'dpop_malformed', () => `${proof({}, { alg: 'none' }).split('.').slice(0, 2).join('.')}.AA`],
    ['alg HS256', 'dpop_malformed', () => proof({}, { alg: 'HS256' })],
    ['another typ', 'dpop_malformed', () => proof({}, { typ: 'JWT' })],
    ['a private key in the header', 'dpop_malformed', () => proof({}, { jwk: privateKey.export({ format: 'jwk' }) })],
    ['an RSA key', 'dpop_malformed', () => proof({}, { jwk: rsa })],
    ['a P-384 key', 'dpop_malformed', () => proof({}, { jwk: p384.export({ format: 'jwk' }) }, p384)],
    ['critical extensions', 'dpop_malformed', () => proof({}, { crit: ['x'], x: 1 })],
    ['no jwk', 'dpop_malformed', () => proof({}, { jwk: undefined })],
    ['no jti', 'dpop_malformed', () => proof({ jti: undefined })],
    ['no iat', 'dpop_malformed', () => proof({ iat: undefined })],
    ['iat as text', 'dpop_malformed', () => proof({ iat: String(NOW) })],
    ['not made with the key of the session', 'dpop_key_mismatch', () => proof({}, { jwk: dpopKey(other).jwk }, other)],
    ['a signature by another key', 'dpop_signature', () => proof({}, {}, other)],
    ['a changed signature', 'dpop_signature', () => `${proof().slice(0, -4)}AAAA`],
    ['another method', 'dpop_mismatch', () => proof({ htm: 'GET' })],
    ['the method in lower case', 'dpop_mismatch', () => proof({ htm: 'post' })],
    ['another path', 'dpop_mismatch', () => proof({ htu: 'https://broker.example/certificates' })],
    ['another host', 'dpop_mismatch', () => proof({ htu: 'https://broker.evil/token' })],
    ['plain http', 'dpop_mismatch', () => proof({ htu: 'http://broker.example/token' })],
    ['credentials in the URL', 'dpop_mismatch', () => proof({ htu: 'https://a:b@broker.example/token' })],
    [
      'the hash of another token',
      'dpop_mismatch',
      () => proof({ ath: ath.replace(/^./, (c) => (c === 'A' ? 'B' : 'A')) }),
    ],
    ['no hash of the token', 'dpop_mismatch', () => proof({ ath: undefined })],
    ['an age of 61 seconds', 'dpop_expired', () => proof({ iat: NOW - 61 })],
    ['a time 6 seconds ahead', 'dpop_expired', () => proof({ iat: NOW + 6 })],
    ['an exp that has passed', 'dpop_expired', () => proof({ exp: NOW })],
    ['an nbf to come', 'dpop_expired', () => proof({ nbf: NOW + 60 })],
  ])('refuses %s', (_what, expected, make) => {
    expect(code(() => verify(make()))).toBe(expected);
  });

  it('refuses a key that is no point of the curve', () => {
    const jwk = { ...key.jwk, x: key.jwk.y };
    expect(code(() => verify(proof({}, { jwk }), { jkt: dpopThumbprint(jwk) }))).toBe('dpop_malformed');
  });

  it('refuses a proof that was used before', () => {
    const replay = createReplayMemory(65, 1_000);
    const once = proof();
    expect(code(() => verify(once, { replay }))).toBe('accepted');
    expect(code(() => verify(once, { replay }))).toBe('dpop_replayed');
    expect(code(() => verify(once, { replay, now: NOW + 60 }))).toBe('dpop_replayed');
  });

  it('refuses proofs made before the process started: a restart forgets what was used', () => {
    expect(code(() => verify(proof({ iat: NOW - 10 }), { startedAt: NOW - 5 }))).toBe('dpop_expired');
    expect(code(() => verify(proof({ iat: NOW - 5 }), { startedAt: NOW - 5 }))).toBe('dpop_expired');
    expect(code(() => verify(proof({ iat: NOW - 4 }), { startedAt: NOW - 5 }))).toBe('accepted');
  });
});

describe('createReplayMemory', () => {
  it('remembers for the whole window and refuses rather than forgets when it is full', () => {
    const memory = createReplayMemory(10, 2);
    expect(memory.claim('a', 100, 'key')).toBe('fresh');
    expect(memory.claim('b', 100, 'key')).toBe('fresh');
    expect(memory.claim('c', 100, 'key')).toBe('full');
    expect(memory.claim('a', 110, 'key')).toBe('seen');
    expect(memory.claim('c', 111, 'key')).toBe('fresh');
    expect(memory.claim('b', 111, 'key')).toBe('seen');
    expect(memory.claim('b', 200, 'key')).toBe('fresh');
  });

  it('with `forget`, forgets the oldest instead and refuses none', () => {
    const memory = createReplayMemory(10, 3, 'forget');
    for (let n = 0; n < 1_000; n++) expect(memory.claim(`${n}`, 100, 'key')).toBe('fresh');
    for (const n of [997, 998, 999]) expect(memory.claim(`${n}`, 100, 'key')).toBe('seen');
    expect(memory.claim('996', 100, 'key')).toBe('fresh');
    expect(memory.claim('999', 111, 'key')).toBe('seen');
  });

  it('is full for an owner who fills the share of one, and for no other owner', () => {
    const memory = createReplayMemory(10, 100, 'refuse', 2);
    for (const id of ['a', 'b']) expect(memory.claim(id, 100, 'greedy')).toBe('fresh');
    expect(memory.claim('c', 100, 'greedy')).toBe('full');
    expect(memory.claim('d', 100, 'other')).toBe('fresh');
    expect(memory.claim('c', 111, 'greedy')).toBe('fresh');
  });
});
