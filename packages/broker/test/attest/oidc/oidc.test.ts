/** ID tokens that are accepted, against a certified provider and an issuer with the claims of GitHub Actions. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FORGERIES } from '@meshpass/lab/oidc/forge';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attestor } from '../../../src/attest/attest.ts';
import { labOnlyPlainHttpIssuers } from '../../../src/issuers/issuer-http.ts';
import { createIssuerKeys } from '../../../src/issuers/oidc/issuer-keys.ts';
import { createWorld, refusal, type World } from '../world.ts';
import { FORGERY_CODES } from './forgery-codes.ts';

let world: World;
let attest: Attestor;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
beforeEach(async () => {
  await world.github.admin.reset();
  attest = world.attest();
});

const present = (token: string, by = attest) => by({ type: 'oidc', token }, { jkt: 'unused', source: '192.0.2.1' });

describe('a person of the company', () => {
  test('is attested with all claims of the token', async () => {
    const token = await world.idp.admin.idToken({ subject: '00u1alice' });
    const { attestation, replay } = await present(token);
    expect(attestation).toMatchObject({
      attestor: 'oidc',
      issuer: 'okta',
      subject: 'okta:00u1alice',
      login: 'alice',
      teams: [],
      claims: { email: 'alice@acme.com', groups: ['payments', 'everyone'], aud: 'meshpass' },
      workspace: { kind: 'other', key: 'other:okta:00u1alice', name: 'alice' },
    });
    expect(attestation.proofExpiresAt).toBe(attestation.claims.exp);
    expect(replay?.key).toMatch(/^[0-9a-f]{64}$/);
    expect(Date.parse(replay!.expiresAt) / 1000).toBeGreaterThan(attestation.proofExpiresAt!);
  });

  test.each(['ES256', 'EdDSA'] as const)('may be signed for with %s', async (alg) => {
    const token = await world.idp.admin.idToken({ subject: 'x', alg });
    expect((await present(token)).attestation.subject).toBe('okta:x');
  });

  test('has a unique subject without a slash', async () => {
    const subject = async (sub: string) =>
      (await present(await world.idp.admin.idToken({ subject: sub }))).attestation.subject;
    expect(await subject('auth0|a/b')).toBe('okta:auth0|a%2Fb');
    expect(await subject('auth0|a%2Fb')).toBe('okta:auth0|a%252Fb');
    expect(await subject('ü')).toBe('okta:%C3%BC');
  });

  test('may have a token for us among others, if it was issued to us', async () => {
    const token = (azp: string) =>
      world.idp.admin.idToken({ subject: 'x', audience: ['meshpass', 'other'], claims: { azp } });
    expect((await present(await token('meshpass'))).attestation.subject).toBe('okta:x');
    expect((await refusal(present(await token('other')))).code).toBe('proof_audience');
  });
});

test('a logout token, which an issuer may not type, is no ID token', async () => {
  const claims = { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } };
  expect((await refusal(present(await world.idp.admin.idToken({ subject: 'x', claims })))).code).toBe(
    'proof_malformed',
  );
  expect((await present(await world.idp.admin.idToken({ subject: 'x' }))).attestation.subject).toBe('okta:x');
});

describe('a job of GitHub Actions', () => {
  test.each([false, true])('is known by its ids (immutable subject: %s)', async (immutableSubject) => {
    const token = await world.actions.admin.idToken({ audience: 'meshpass', job: { immutableSubject } });
    const { attestation } = await present(token);
    expect(attestation).toMatchObject({
      attestor: 'oidc',
      issuer: 'ci',
      subject: 'ci:repo:7001',
      login: 'alice',
      githubUser: { id: 583231, login: 'alice' },
      teams: ['acme/payments'],
      workspace: {
        kind: 'actions',
        key: 'actions:7001:9200000001:1',
        repository: { id: 7001, fullName: 'acme/payments-api', ownerId: 9919001 },
        ref: 'refs/heads/main',
      },
    });
  });

  test('is not identified by its subject', async () => {
    const claims = { sub: 'repo:acme/payments-api:ref:refs/heads/main' };
    const job = { repositoryOwner: { name: 'mallory', id: 666013 }, repository: { name: 'payments-api', id: 6660 } };
    const { attestation } = await present(await world.actions.admin.idToken({ audience: 'meshpass', job, claims }));
    expect(attestation.subject).toBe('ci:repo:6660');
    expect(attestation.workspace.repository).toMatchObject({ fullName: 'mallory/payments-api', ownerId: 666013 });
  });

  test('is refused if an id is missing or no number', async () => {
    for (const repository_id of [undefined, null, '', 'x', '0', '7001.0', '9'.repeat(40), 7001]) {
      const token = await world.actions.admin.idToken({
        audience: 'meshpass',
        claims: { repository_id: repository_id ?? null },
      });
      expect((await refusal(present(token))).code).toBe('proof_malformed');
    }
  });

  test('is refused if a claim changes the direction of text, before any request about it', async () => {
    const token = await world.actions.admin.idToken({ audience: 'meshpass', claims: { actor: 'ali\u202ece' } });
    expect((await refusal(present(token))).code).toBe('proof_unprintable');
  });

  test('leaves out the one claim that may have line breaks', async () => {
    const claims = { address: { formatted: 'Street 1\nTown' } };
    const { attestation } = await present(await world.idp.admin.idToken({ subject: 'x', claims }));
    expect(attestation.claims).not.toHaveProperty('address');
  });

  test('is refused if it makes a prebuild', async () => {
    const claims = { workflow_ref: 'acme/payments-api/dynamic/codespaces/create_codespaces_prebuilds@refs/heads/main' };
    const token = await world.actions.admin.idToken({ audience: 'meshpass', claims });
    expect((await refusal(present(token))).code).toBe('proof_prebuild');
  });

  test('waits for GitHub if a team must be confirmed', async () => {
    await world.github.admin.setFault({ mode: 'down' });
    const token = await world.actions.admin.idToken({ audience: 'meshpass' });
    expect(await refusal(present(token))).toMatchObject({ code: 'issuer_unavailable', status: 503 });
  });
});

describe('a forged token', () => {
  test.each(FORGERIES)('%s is refused, of the company and of GitHub Actions', async (forgery) => {
    const tokens = [
      await world.idp.admin.idToken({ subject: '00u1alice', forgery }),
      await world.actions.admin.idToken({ audience: 'meshpass', forgery }),
    ];
    for (const token of tokens) {
      const refused = await refusal(present(token));
      expect(refused).toMatchObject({ code: FORGERY_CODES[forgery] });
      expect(refused.text).not.toContain(token.slice(-40));
      expect(refused.text.length).toBeLessThan(2000);
    }
  });

  test('causes no fetch of a URL in it', async () => {
    let asked = 0;
    const attacker = createServer((_request, response) => {
      asked++;
      response.end('{"keys":[]}');
    });
    await new Promise<void>((resolve) => attacker.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(attacker.address() as AddressInfo).port}`;
    const forged = { subject: 'x', forgery: 'key-url-in-header', attackerUrl: url } as const;
    expect((await refusal(present(await world.idp.admin.idToken(forged)))).code).toBe('proof_key_unknown');
    const named = await world.idp.admin.idToken({ subject: 'x', claims: { iss: url } });
    expect((await refusal(present(named))).code).toBe('proof_issuer_unknown');
    expect(asked).toBe(0);
    attacker.close();
  });

  test('with an unknown kid, again and again, does not drive us against the issuer', async () => {
    await present(await world.idp.admin.idToken({ subject: 'x' }));
    await world.idp.admin.forgetRequests();
    for (let i = 0; i < 10; i++) {
      await refusal(present(await world.idp.admin.idToken({ subject: 'x', forgery: 'unknown-kid' })));
    }
    expect(await world.idp.admin.requests()).toEqual([]);
  });
});

describe('a token is good for one use', () => {
  test('by its jti, for every client', async () => {
    const token = await world.actions.admin.idToken({ audience: 'meshpass' });
    const [first, second] = [await present(token), await present(token, world.attest())];
    expect(second.replay).toEqual(first.replay);
    const other = await present(await world.actions.admin.idToken({ audience: 'meshpass' }));
    expect(other.replay?.key).not.toBe(first.replay?.key);
  });

  test('by its signed part if it has no jti, because an ECDSA signature has two encodings', async () => {
    const token = await world.idp.admin.idToken({ subject: 'x', alg: 'ES256' });
    const twin = otherSignature(token);
    expect(twin).not.toBe(token);
    expect((await present(twin)).replay).toEqual((await present(token)).replay);
  });

  test('and the same jti of another issuer is another token', async () => {
    const jti = 'one-and-the-same';
    const a = await present(await world.actions.admin.idToken({ audience: 'meshpass', claims: { jti } }));
    const b = await present(await world.idp.admin.idToken({ subject: 'x', claims: { jti } }));
    expect(a.replay?.key).not.toBe(b.replay?.key);
  });
});

describe('keys', () => {
  test('that are new are found by their kid, and withdrawn ones are trusted no longer', async () => {
    const own = world.attest({ coolDownMs: 0 });
    const before = await world.idp.admin.idToken({ subject: 'x' });
    await present(before, own);
    await world.idp.admin.rotateKeys(true);
    await present(await world.idp.admin.idToken({ subject: 'x' }), own);
    await present(before, own);
    await world.idp.admin.rotateKeys(false);
    await present(await world.idp.admin.idToken({ subject: 'x' }), own);
    expect((await refusal(present(before, own))).code).toBe('proof_key_unknown');
  });

  test('that cannot be fetched stop everything, until the issuer is back', async () => {
    let now = Date.now();
    const own = world.attest({ clock: () => now });
    const token = await world.idp.admin.idToken({ subject: 'x' });
    await world.idp.admin.setDown(true);
    expect(await refusal(present(token, own))).toMatchObject({ code: 'issuer_unavailable', status: 503 });
    await world.idp.admin.setDown(false);
    now += 1500;
    expect((await present(token, own)).attestation.subject).toBe('okta:x');
    await world.idp.admin.setDown(true);
    expect((await present(token, own)).attestation.subject).toBe('okta:x');
    await world.idp.admin.setDown(false);
  });

  test('of an issuer without TLS are never fetched outside of a lab', async () => {
    const keys = createIssuerKeys({ fetch, timeoutMs: 1000, clock: Date.now });
    await world.idp.admin.forgetRequests();
    expect((await refusal(keys.keysOf(world.idp.issuer))).code).toBe('issuer_unavailable');
    expect(await world.idp.admin.requests()).toEqual([]);
  });

  test('of a discovery document of another issuer are refused', async () => {
    const own = createIssuerKeys({ fetch, timeoutMs: 1000, clock: Date.now, [labOnlyPlainHttpIssuers]: true });
    // The slash is removed before the request, so this document is found, and has another issuer.
    expect((await refusal(own.keysOf(`${world.idp.issuer}/`))).code).toBe('issuer_unavailable');
  });
});

/** An ECDSA signature (r, s) holds as (r, n - s) too. */
function otherSignature(token: string): string {
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const [header, payload, signature] = token.split('.') as [string, string, string];
  const bytes = Buffer.from(signature, 'base64url');
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`);
  const twin = Buffer.concat([bytes.subarray(0, 32), Buffer.from((n - s).toString(16).padStart(64, '0'), 'hex')]);
  return `${header}.${payload}.${twin.toString('base64url')}`;
}
