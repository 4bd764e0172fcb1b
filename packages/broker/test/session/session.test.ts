/** Credentials of a live session, and their recipients. */
import { CertificateResponse, ServicesResponse } from '@meshpass/identity/wire';
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  asSession,
  certificates,
  derive,
  dpop,
  EXCHANGE,
  enrol,
  FORM,
  form,
  type Harness,
  ID_TOKEN,
  newCsr,
  newKey,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';

describe('a live session', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness();
  });
  beforeEach(() => {
    harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:olga'])]);
    harness.mesh.beforeSigning = async () => {};
    harness.mesh.revokerDown = false;
  });
  afterAll(() => harness.stop());

  it('has an identity token that verifies by the published keys', async () => {
    const who = await session(harness, 'alice');
    const answer = await derive(harness, who, { requested_token_type: JWT });
    expect(answer.json).toMatchObject({ token_type: 'N_A', issued_token_type: JWT });
    // Rest of 300 seconds: signing and answering may cross a second boundary.
    expect(answer.json.expires_in).toBeGreaterThan(290);
    expect(answer.json.expires_in).toBeLessThanOrEqual(300);
    const { json: jwks } = await harness.call({ path: '/jwks' });
    const { payload, protectedHeader } = await jwtVerify(answer.json.access_token, createLocalJWKSet(jwks), {
      issuer: 'https://broker.example',
      audience: 'meshpass',
      currentDate: new Date(harness.now() * 1000),
    });
    expect(protectedHeader).toMatchObject({ alg: 'RS256', typ: 'JWT' });
    expect(payload).toMatchObject({
      sub: 'idp:alice',
      aud: ['meshpass'],
      sid: who.session.id,
      grants: ['dev'],
      login: 'alice',
    });
    expect((await derive(harness, who)).json.access_token).toBe(answer.json.access_token);
  });

  it.each<[string, unknown, string | undefined]>([
    ['is verified', true, 'alice@acme.com'],
    ['is not', false, undefined],
    ['is stated in another way', 'true', undefined],
    ['may be anything', undefined, undefined],
  ])('has an identity token with the email of its proof, if it %s: %s', async (_, verified, expected) => {
    const key = newKey();
    const proof = await harness.idp.prove('alice', { email: 'alice@acme.com', email_verified: verified });
    const who = { ...(await enrol(harness, 'alice', key, proof)).json, key };
    const { json } = await derive(harness, who, { requested_token_type: JWT });
    expect(decodeJwt(json.access_token).email).toBe(expected);
  });

  it('has an ID token for an audience that the access file allows, and for no other', async () => {
    const who = await session(harness, 'alice');
    const allowed = await derive(harness, who, { requested_token_type: ID_TOKEN, audience: 'sts.amazonaws.com' });
    expect(allowed.status).toBe(200);
    const claims = JSON.parse(Buffer.from(allowed.json.access_token.split('.')[1], 'base64url').toString());
    expect(claims).toMatchObject({ aud: ['sts.amazonaws.com'], sub: 'idp:alice' });
    expect(claims.sid).toBeUndefined();
    for (const audience of ['meshpass', 'https://broker.example', 'vault']) {
      harness.mesh.setAccess([grant('dev')], ['sts.amazonaws.com', 'meshpass', 'https://broker.example']);
      const refused = await derive(harness, who, { requested_token_type: ID_TOKEN, audience });
      expect(refused.status).toBe(400);
      expect(refused.json).toMatchObject({ error: 'invalid_target', error_code: 'audience_not_allowed' });
    }
  });

  it("is not shown by a bearer alone, by another key, or by another's token", async () => {
    const who = await session(harness, 'alice');
    const bob = await session(harness, 'bob');
    const authorization = `DPoP ${who.access_token}`;
    const bare = await harness.call({ path: '/services', headers: { authorization } });
    expect([bare.status, bare.json.error_code]).toEqual([401, 'dpop_missing']);
    expect(bare.headers['www-authenticate']).toContain('invalid_dpop_proof');
    const other = await asSession(harness, { ...who, key: newKey() }, { path: '/services' });
    expect([other.status, other.json.error_code]).toEqual([401, 'dpop_key_mismatch']);
    const stolen = await asSession(harness, { ...who, key: bob.key }, { path: '/services' });
    expect([stolen.status, stolen.json.error_code]).toEqual([401, 'dpop_key_mismatch']);
    const none = await harness.call({ path: '/services' });
    expect([none.status, none.json.error_code]).toEqual([401, 'session_token_missing']);
    const unknown = await asSession(harness, { ...who, access_token: `mps_${'A'.repeat(43)}` }, { path: '/services' });
    expect([unknown.status, unknown.json.error_code]).toEqual([401, 'session_unknown']);
    const bearer = await asSession(harness, who, {
      path: '/services',
      headers: { authorization: `Bearer ${who.access_token}` },
    });
    expect([bearer.status, bearer.json.error_code]).toEqual([401, 'session_token_missing']);
    const mixed = await asSession(harness, who, {
      method: 'POST',
      path: '/token',
      headers: FORM,
      body: form({
        grant_type: EXCHANGE,
        subject_token: bob.access_token,
        subject_token_type: 'urn:meshpass:token-type:session',
      }),
    });
    expect([mixed.status, mixed.json.error_code]).toEqual([400, 'request_malformed']);
  });

  it('refuses a DPoP proof for another path or method, and one that was used', async () => {
    const who = await session(harness, 'alice');
    const authorization = `DPoP ${who.access_token}`;
    const now = harness.now();
    const proof = (path: string, method: string) =>
      dpop({ key: who.key, path, method, now, accessToken: who.access_token });
    const path = await harness.call({ path: '/services', headers: { authorization, dpop: proof('/token', 'GET') } });
    expect(path.json.error_code).toBe('dpop_mismatch');
    const method = await harness.call({
      path: '/services',
      headers: { authorization, dpop: proof('/services', 'POST') },
    });
    expect(method.json.error_code).toBe('dpop_mismatch');
    const used = proof('/services', 'GET');
    expect((await harness.call({ path: '/services', headers: { authorization, dpop: used } })).status).toBe(200);
    const again = await harness.call({ path: '/services', headers: { authorization, dpop: used } });
    expect([again.status, again.json.error_code]).toEqual([401, 'dpop_replayed']);
  });

  it('compares htu with its public URL, regardless of the Host header', async () => {
    const who = await session(harness, 'alice');
    const answer = await asSession(harness, who, { path: '/services', headers: { host: 'evil.example' } });
    expect(ServicesResponse.parse(answer.json).services).toHaveLength(1);
  });

  it('gets certificates for the grants it holds, and for no others', async () => {
    const who = await session(harness, 'olga');
    const answer = await certificates(harness, who, ['dev', 'ops']);
    const issued = CertificateResponse.parse(answer.json);
    expect(issued.certificates.map((one) => one.spiffe_id.replace(/-[0-9a-f]{12}$/, ''))).toEqual([
      'spiffe://cluster.local/ns/meshpass-dev/sa/olga',
      'spiffe://cluster.local/ns/meshpass-ops/sa/olga',
    ]);
    const alice = await session(harness, 'alice');
    const refused = await certificates(harness, alice, ['ops']);
    expect([refused.status, refused.json.error_code]).toEqual([403, 'grant_unknown']);
    const twice = await certificates(harness, alice, ['dev', 'dev']);
    expect([twice.status, twice.json.error_code]).toEqual([400, 'request_malformed']);
  });

  it('asks for arrivals and renewals in different queues', async () => {
    const who = await session(harness, 'alice');
    const before = harness.mesh.signed.length;
    await certificates(harness, who, ['dev']);
    await certificates(harness, who, ['dev']);
    expect(harness.mesh.signed.slice(before).map((one) => one.queue)).toEqual(['arrival', 'renewal']);
  });

  it('learns when to retry if the line at the CA is full, and is still an arrival then', async () => {
    const who = await session(harness, 'alice');
    const before = harness.mesh.signed.length;
    harness.mesh.full.add('arrival');
    const refused = await certificates(harness, who, ['dev']);
    expect([refused.status, refused.json.error_code]).toEqual([503, 'overloaded']);
    expect(refused.headers['retry-after']).toBe('7');
    expect(harness.mesh.signed).toHaveLength(before);
    harness.mesh.full.clear();
    expect(await certificates(harness, who, ['dev'])).toMatchObject({ status: 200 });
    expect(harness.mesh.signed.at(-1)!.queue).toBe('arrival');
  });

  it('does not wait at the CA any longer when its agent has hung up', async () => {
    const who = await session(harness, 'alice');
    const gone = new AbortController();
    const asked = Promise.withResolvers<AbortSignal>();
    const given = Promise.withResolvers<void>();
    harness.mesh.beforeSigning = ({ signal }) => {
      asked.resolve(signal!);
      return given.promise;
    };
    const call = asSession(harness, who, {
      method: 'POST',
      path: '/certificates',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ certificates: [{ grant: 'dev', csr: newCsr() }] }),
      signal: gone.signal,
    }).catch((error: Error) => error.name);
    const signal = await asked.promise;
    expect(signal.aborted).toBe(false);
    gone.abort();
    expect(await call).toBe('AbortError');
    await expect.poll(() => signal.aborted).toBe(true);
    given.resolve();
    harness.mesh.beforeSigning = async () => {};
  });

  it.each([
    ['garbage', 400, 'csr_malformed', 'hello'],
    ['too large', 413, 'csr_too_large', 'x'.repeat(9_000)],
  ])('refuses a CSR that is %s', async (_what, status, code, csr) => {
    const who = await session(harness, 'alice');
    const answer = await certificates(harness, who, ['dev'], csr);
    expect([answer.status, answer.json.error_code]).toEqual([status, code]);
  });

  it('gets no certificate if it ends while the CA signs, and the principal stays revoked long enough', async () => {
    const who = await session(harness, 'alice');
    let signing = () => {};
    const began = new Promise<void>((resolve) => {
      signing = resolve;
    });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    harness.mesh.beforeSigning = async () => {
      signing();
      await held;
    };
    const pending = certificates(harness, who, ['dev']);
    await began;
    const bye = await asSession(harness, who, { method: 'DELETE', path: '/session' });
    expect(bye.status).toBe(204);
    await harness.revocationsSettled();
    const revoked = harness.mesh.revoked.find(
      (one) => one.namespace === 'meshpass-dev' && one.spiffeId.includes(who.session.id.slice(0, 12)),
    );
    expect(revoked!.until).toBeGreaterThanOrEqual(harness.now() + 600);
    release();
    const answer = await pending;
    expect([answer.status, answer.json.error_code]).toEqual([401, 'session_closed']);
  });

  it('gets no certificate from a CA that is away or signs another identity', async () => {
    const who = await session(harness, 'alice');
    harness.mesh.beforeSigning = async () => {
      throw new Error('connection refused');
    };
    const answer = await certificates(harness, who, ['dev']);
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('connection refused');
  });
});
