import { generateKeyPairSync } from 'node:crypto';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { CertificateResponse, type EdgeEvent, HeartbeatResponse, ServicesResponse } from '@meshpass/identity';
import { createCsr } from '@meshpass/identity/csr';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readStore } from '../harness/audit.ts';
import {
  asSession,
  dpop,
  type Enrolled,
  EXCHANGE,
  enrol,
  FORM,
  form,
  type Harness,
  ID_TOKEN,
  newKey,
  OPERATOR_TOKEN,
  send,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const json = { 'content-type': 'application/json' };
const newCsr = () => createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);

describe('a live session', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness();
  }, 60_000);
  beforeEach(() => {
    harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:olga'])]);
    harness.mesh.beforeSigning = async () => {};
    harness.mesh.revokerDown = false;
  });
  afterAll(() => harness.stop());

  const derive = (who: Enrolled, more: Record<string, string> = {}) =>
    asSession(harness, who, {
      method: 'POST',
      path: '/token',
      headers: FORM,
      body: form({
        grant_type: EXCHANGE,
        subject_token: who.access_token,
        subject_token_type: 'urn:meshpass:token-type:session',
        ...more,
      }),
    });
  const certificates = (who: Enrolled, grants: string[], csr = newCsr()) =>
    asSession(harness, who, {
      method: 'POST',
      path: '/certificates',
      headers: json,
      body: JSON.stringify({ certificates: grants.map((name) => ({ grant: name, csr })) }),
    });
  const heartbeat = (who: Enrolled) => asSession(harness, who, { method: 'POST', path: '/session/heartbeat' });
  const listen = () => {
    const events: EdgeEvent[] = [];
    const stop = harness.broker.feed.subscribe((event) => events.push(event));
    return { events, stop };
  };

  it('has an identity token that verifies by the published keys', async () => {
    const who = await session(harness, 'alice');
    const answer = await derive(who, { requested_token_type: JWT });
    expect(answer.json).toMatchObject({ token_type: 'N_A', issued_token_type: JWT });
    // What is left of 300 seconds: signing and answering may cross the boundary of a second.
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
    expect((await derive(who)).json.access_token).toBe(answer.json.access_token);
  });

  it('has an ID token for an audience that the access file allows, and for no other', async () => {
    const who = await session(harness, 'alice');
    const allowed = await derive(who, { requested_token_type: ID_TOKEN, audience: 'sts.amazonaws.com' });
    expect(allowed.status).toBe(200);
    const claims = JSON.parse(Buffer.from(allowed.json.access_token.split('.')[1], 'base64url').toString());
    expect(claims).toMatchObject({ aud: ['sts.amazonaws.com'], sub: 'idp:alice' });
    expect(claims.sid).toBeUndefined();
    for (const audience of ['meshpass', 'https://broker.example', 'vault']) {
      harness.mesh.setAccess([grant('dev')], ['sts.amazonaws.com', 'meshpass', 'https://broker.example']);
      const refused = await derive(who, { requested_token_type: ID_TOKEN, audience });
      expect(refused.status).toBe(400);
      expect(refused.json).toMatchObject({ error: 'invalid_target', error_code: 'audience_not_allowed' });
    }
  });

  it('is not shown by a bearer alone, by another key, or by another’s token', async () => {
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

  it('compares htu with its public URL, whatever the Host header says', async () => {
    const who = await session(harness, 'alice');
    const answer = await asSession(harness, who, { path: '/services', headers: { host: 'evil.example' } });
    expect(ServicesResponse.parse(answer.json).services).toHaveLength(1);
  });

  it('gets certificates for the grants it holds, and for no others', async () => {
    const who = await session(harness, 'olga');
    const answer = await certificates(who, ['dev', 'ops']);
    const issued = CertificateResponse.parse(answer.json);
    expect(issued.certificates.map((one) => one.spiffe_id.replace(/-[0-9a-f]{12}$/, ''))).toEqual([
      'spiffe://cluster.local/ns/meshpass-dev/sa/olga',
      'spiffe://cluster.local/ns/meshpass-ops/sa/olga',
    ]);
    const alice = await session(harness, 'alice');
    const refused = await certificates(alice, ['ops']);
    expect([refused.status, refused.json.error_code]).toEqual([403, 'grant_unknown']);
    const twice = await certificates(alice, ['dev', 'dev']);
    expect([twice.status, twice.json.error_code]).toEqual([400, 'request_malformed']);
  });

  it('asks for arrivals and renewals in different queues', async () => {
    const who = await session(harness, 'alice');
    const before = harness.mesh.signed.length;
    await certificates(who, ['dev']);
    await certificates(who, ['dev']);
    expect(harness.mesh.signed.slice(before).map((one) => one.queue)).toEqual(['arrival', 'renewal']);
  });

  it.each([
    ['garbage', 400, 'csr_malformed', 'hello'],
    ['too large', 413, 'csr_too_large', 'x'.repeat(9_000)],
  ])('refuses a CSR that is %s', async (_what, status, code, csr) => {
    const who = await session(harness, 'alice');
    const answer = await certificates(who, ['dev'], csr);
    expect([answer.status, answer.json.error_code]).toEqual([status, code]);
  });

  it('is told nothing of a certificate when it ends while the CA signs, and the principal stays revoked long enough', async () => {
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
    const pending = certificates(who, ['dev']);
    await began;
    const bye = await asSession(harness, who, { method: 'DELETE', path: '/session' });
    expect(bye.status).toBe(204);
    await harness.broker.revocationsSettled();
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
    const answer = await certificates(who, ['dev']);
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('connection refused');
  });

  it('goes at once from store, edges and mesh when its agent says goodbye', async () => {
    const who = await session(harness, 'alice');
    await certificates(who, ['dev']);
    const { events, stop } = listen();
    expect(events[0]).toMatchObject({ type: 'snapshot' });
    expect(events[0]?.type === 'snapshot' && events[0].sessions.some((one) => one.id === who.session.id)).toBe(true);
    const answer = await asSession(harness, who, { method: 'DELETE', path: '/session' });
    expect(answer.status).toBe(204);
    expect(events.at(-1)).toMatchObject({ type: 'close', id: who.session.id });
    stop();
    await harness.broker.revocationsSettled();
    expect(harness.mesh.revoked.some((one) => one.spiffeId.includes(who.session.id.slice(0, 12)))).toBe(true);
    const after = await heartbeat(who);
    expect([after.status, after.json.error_code]).toEqual([401, 'session_closed']);
    expect(after.json.error_description).toContain('its agent ended it');
  });

  it('is replaced by the next session of its workspace, also when both arrive at once', async () => {
    const first = await session(harness, 'alice');
    const { events, stop } = listen();
    const [a, b] = await Promise.all([session(harness, 'alice'), session(harness, 'alice')]);
    const alive = [];
    for (const one of [first, a!, b!]) if ((await heartbeat(one)).status === 200) alive.push(one.session.id);
    expect(alive).toHaveLength(1);
    expect(events.filter((event) => event.type === 'close')).toHaveLength(2);
    stop();
  });

  it('is not replaced by an earlier request that its agent has given up', async () => {
    const reached = Promise.withResolvers<void>();
    const hold = Promise.withResolvers<void>();
    harness.idp.before = () => {
      reached.resolve();
      return hold.promise;
    };
    const impatient = new Agent({ rejectUnauthorized: false, keepAlive: true });
    const headers = { ...FORM, dpop: dpop({ key: newKey(), now: harness.now() }) };
    const token = await harness.idp.prove('ines');
    const body = form({ grant_type: EXCHANGE, subject_token: token, subject_token_type: ID_TOKEN });
    const asked = send(impatient, harness.broker.port, { method: 'POST', path: '/token', headers, body });
    try {
      await reached.promise;
      impatient.destroy();
      await expect(asked).rejects.toThrow();
      harness.idp.before = async () => {};
      const second = await session(harness, 'ines');
      hold.resolve();
      await vi.waitFor(() => expect(harness.log.join('')).toContain('disconnected before its session could be opened'));
      expect((await heartbeat(second)).status).toBe(200);
    } finally {
      harness.idp.before = async () => {};
      hold.resolve();
    }
  });

  it('keeps its workspace from another subject', async () => {
    await session(harness, 'alice');
    const proof = await harness.idp.prove('bob', { workspace: 'codespace:alice' });
    const answer = await enrol(harness, 'bob', newKey(), proof);
    expect([answer.status, answer.json.error_code]).toEqual([400, 'workspace_not_owned']);
  });

  it('lives as long as heartbeats come, and lapses without', async () => {
    const quiet = await session(harness, 'quiet');
    const loud = await session(harness, 'loud');
    harness.clockAhead += 30_000;
    const beat = await heartbeat(loud);
    expect(HeartbeatResponse.parse(beat.json).lease_expires_at).toBe(harness.now() + 45);
    harness.clockAhead += 20_000;
    await vi.waitFor(async () => expect((await heartbeat(quiet)).json.error_code).toBe('session_closed'), {
      timeout: 10_000,
    });
    expect((await heartbeat(loud)).status).toBe(200);
  });

  it('is not told that it reaches nothing while a broker that starts has no access file in force', async () => {
    const who = await session(harness, 'early');
    harness.mesh.notReady = ['the access file has not been applied yet'];
    try {
      const beat = await heartbeat(who);
      expect(beat.status).toBe(200);
      expect(HeartbeatResponse.parse(beat.json)).not.toHaveProperty('services_version');
      const services = await asSession(harness, who, { path: '/services' });
      expect([services.status, services.json.error_code]).toEqual([503, 'kubernetes_unavailable']);
    } finally {
      harness.mesh.notReady = [];
    }
    expect((await heartbeat(who)).json).toHaveProperty('services_version');
    expect((await asSession(harness, who, { path: '/services' })).json.services).toHaveLength(1);
  });

  it('ends at its limit', async () => {
    harness.mesh.setAccess([grant('dev', [], { session: 120 })]);
    const who = await session(harness, 'alice');
    expect(who.session.expires_at - who.expires_in - harness.now()).toBeLessThanOrEqual(0);
    expect(who.expires_in).toBeLessThanOrEqual(120);
    for (let n = 0; n < 4; n++) {
      await heartbeat(who);
      harness.clockAhead += 31_000;
    }
    const answer = await heartbeat(who);
    expect([answer.status, answer.json.error_code]).toEqual([401, 'session_closed']);
  });

  it('loses a grant that the access file takes away, and ends with the last', async () => {
    const who = await session(harness, 'olga');
    await certificates(who, ['dev', 'ops']);
    const { events, stop } = listen();
    harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:other'])]);
    const admitted = events.findLast((event) => event.type === 'admit' && event.session.id === who.session.id);
    expect(admitted?.type === 'admit' && admitted.session.principals).toHaveLength(1);
    await harness.broker.revocationsSettled();
    const own = (namespace: string) =>
      harness.mesh.revoked.some(
        (one) => one.namespace === namespace && one.spiffeId.includes(who.session.id.slice(0, 12)),
      );
    expect([own('meshpass-ops'), own('meshpass-dev')]).toEqual([true, false]);
    expect((await certificates(who, ['ops'])).json.error_code).toBe('grant_unknown');
    harness.mesh.setAccess([grant('dev', ['idp:other'])]);
    await vi.waitFor(async () => expect((await heartbeat(who)).json.error_code).toBe('session_closed'), {
      timeout: 10_000,
    });
    expect(events.at(-1)?.type).toBe('close');
    stop();
  });

  it('revokes as soon as the mesh answers again', async () => {
    const who = await session(harness, 'alice');
    await certificates(who, ['dev']);
    harness.mesh.revokerDown = true;
    await asSession(harness, who, { method: 'DELETE', path: '/session' });
    const metrics = await harness.operatorCall('/metrics');
    expect(metrics.text).toMatch(/meshpass_revocations_pending [1-9]/);
    harness.mesh.revokerDown = false;
    await harness.broker.revocationsSettled();
    expect(harness.mesh.revoked.some((one) => one.spiffeId.includes(who.session.id.slice(0, 12)))).toBe(true);
  });

  it('is closed by an operator, and by nobody who merely says so', async () => {
    const who = await session(harness, 'alice');
    const close = (token: string, body: object) =>
      harness.operatorCall({
        method: 'POST',
        path: '/admin/sessions/close',
        headers: { ...json, authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
      });
    const refused = await close('wrong', { id: who.session.id });
    expect([refused.status, refused.json.error_code]).toEqual([401, 'operator_unauthorized']);
    expect((await close(OPERATOR_TOKEN, {})).status).toBe(400);
    expect((await close(OPERATOR_TOKEN, { id: 'x', subject: 'y' })).status).toBe(400);
    const closed = await close(OPERATOR_TOKEN, { subject: 'idp:alice' });
    expect(closed.json.closed).toContain(who.session.id);
    expect((await heartbeat(who)).json.error_code).toBe('session_closed');
  });

  it('survives a restart of the broker, with a new lease, and keeps what was revoked', async () => {
    const who = await session(harness, 'alice');
    const gone = await session(harness, 'bob');
    await certificates(gone, ['dev']);
    await asSession(harness, gone, { method: 'DELETE', path: '/session' });
    const kid = (await harness.call({ path: '/jwks' })).json.keys[0].kid;
    harness.mesh.revoked = [];
    await harness.restart();
    expect((await heartbeat(who)).status).toBe(200);
    expect((await heartbeat(gone)).status).toBe(401);
    expect((await harness.call({ path: '/jwks' })).json.keys[0].kid).toBe(kid);
    await harness.broker.revocationsSettled();
    expect(harness.mesh.revoked.some((one) => one.spiffeId.includes(gone.session.id.slice(0, 12)))).toBe(true);
  });

  it('is narrowed at the start of a broker when the access file changed while none ran', async () => {
    const who = await session(harness, 'olga');
    await harness.broker.close();
    harness.mesh.setAccess([grant('dev', ['idp:olga'])]);
    await harness.restart();
    const answer = await asSession(harness, who, { path: '/services' });
    expect(ServicesResponse.parse(answer.json).services.map((one) => one.grant)).toEqual(['dev']);
  });

  it('leaves a row for every decision, without a token in any', async () => {
    const who = await session(harness, 'audited');
    await certificates(who, ['dev']);
    await derive(who);
    await asSession(harness, who, { method: 'DELETE', path: '/session' });
    await harness.broker.close();
    const { audit, sessions } = await readStore({ dataDir: join(harness.dir, 'data') });
    const rows = audit.filter((row) => row.session_id === who.session.id);
    expect(rows.map((row) => [row.action, row.outcome])).toEqual([
      ['session.open', 'allowed'],
      ['certificate.issue', 'allowed'],
      ['token.issue', 'allowed'],
      ['session.close', 'ended'],
    ]);
    expect(rows[0]).toMatchObject({ subject: 'idp:audited', source: '127.0.0.1', grant_name: 'dev' });
    expect(rows[0]?.proof_hash).toMatch(/^[0-9a-f]{64}$/);
    const everything = JSON.stringify({ audit, sessions }) + harness.log.join('');
    expect(everything).not.toContain(who.access_token);
    expect(everything).not.toMatch(/eyJ[A-Za-z0-9_-]{20}/);
    await harness.restart();
  });
});
