/** A GitHub App whose id or key is wrong: GitHub is available and refuses it. */
import { generateKeyPairSync } from 'node:crypto';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createGithubApp } from '../../../src/attest/github/app.ts';
import { createLosses } from '../../../src/attest/github/losses.ts';
import { labOnlyPlainHttpIssuers } from '../../../src/issuers/issuer-http.ts';

let github: RunningGithub;
beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
});
afterAll(() => github.close());

const appWith = (privateKey: string) => {
  const asking = { fetch, timeoutMs: 5_000, clock: Date.now, [labOnlyPlainHttpIssuers]: true as const };
  return createGithubApp({
    ...asking,
    url: github.url,
    appId: '4242',
    privateKey,
    losses: createLosses(Date.now),
  });
};

it('signs in with its own key, without a warning', async () => {
  const app = appWith(github.appPrivateKey);
  expect(app.refused()).toBeUndefined();
  await app.signIn();
  expect(app.refused()).toBeUndefined();
});

it('with the key of another App reports the fix, not an outage of GitHub', async () => {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const app = appWith(privateKey);
  const refused = { code: 'issuer_unavailable', message: expect.stringContaining('Ask your platform team') };
  await expect(app.signIn()).rejects.toMatchObject(refused);
  expect(app.refused()).toBe('GitHub rejected the ID or private key of GitHub App 4242');
  await expect(app.organizationId('acme')).rejects.toMatchObject(refused);
});
