import { generateKeyPairSync } from 'node:crypto';
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { createDpopProof, dpopKey, dpopThumbprint } from '../src/dpop.ts';
import { sha256Base64url } from '../src/hash.ts';

test('creates a DPoP proof that jose verifies, bound to method, URL and token', async () => {
  const key = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const proof = createDpopProof({
    key,
    method: 'POST',
    url: 'https://broker.example/token?x=1#y',
    now: Math.floor(Date.now() / 1000),
    jti: 'one',
    accessToken: 'secret',
  });
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] });
  expect(payload).toMatchObject({ htm: 'POST', htu: 'https://broker.example/token', jti: 'one' });
  expect(payload.ath).toBe(sha256Base64url('secret'));
  expect(await calculateJwkThumbprint(protectedHeader.jwk!)).toBe(dpopThumbprint(key.jwk));
});
