/** How long a session lives, and what ends, replaces or narrows it. */
import { Agent } from 'node:https';
import { join } from 'node:path';
import type { EdgeEvent } from '@meshpass/identity/channel';
import { ServicesResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readStore } from '../harness/audit.ts';
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
  newKey,
  OPERATOR_TOKEN,
  renewLease,
  send,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const json = { 'content-type': 'application/json' };

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

  const listen = () => {
    const events: EdgeEvent[] = [];
    const stop = harness.broker.feed.subscribe((event) => {
      // A beat can come between any two others.
      if (event.type !== 'beat') events.push(event);
    });
    return { events, stop };
  };

  it('ends at once in store, edges and mesh when its agent says goodbye', async () => {
    const who = await session(harness, 'alice');
    await certificates(harness, who, ['dev']);
    const { events, stop } = listen();
    expect(events[0]).toMatchObject({ type: 'snapshot' });
    expect(events[0]?.type === 'snapshot' && events[0].sessions.some((one) => one.id === who.session.id)).toBe(true);
    // Edges know when each grant ends, for when the broker is away.
    const told =
      events[0]?.type === 'snapshot' ? events[0].sessions.find((one) => one.id === who.session.id) : undefined;
    expect(Math.max(...told!.principals.map(({ until }) => until!))).toBe(told!.expires_at);
    const answer = await asSession(harness, who, { method: 'DELETE', path: '/session' });
    expect(answer.status).toBe(204);
    expect(events.at(-1)).toMatchObject({ type: 'close', id: who.session.id });
    stop();
    await harness.revocationsSettled();
    expect(harness.mesh.revoked.some((one) => one.spiffeId.includes(who.session.id.slice(0, 12)))).toBe(true);
    expect(await renewLease(harness, who)).toMatchObject({ kind: 'ended', reason: 'its agent ended it' });
    const after = await asSession(harness, who, { path: '/services' });
    expect([after.status, after.json.error_code]).toEqual([401, 'session_closed']);
    expect(after.json.error_description).toContain('its agent ended it');
  });

  it('is replaced by the next session of its workspace, even when both arrive at once', async () => {
    const first = await session(harness, 'alice');
    const { events, stop } = listen();
    const [a, b] = await Promise.all([session(harness, 'alice'), session(harness, 'alice')]);
    const alive = [];
    for (const one of [first, a!, b!])
      if ((await renewLease(harness, one)).kind === 'lease') alive.push(one.session.id);
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
      await vi.waitFor(() => expect(harness.log.join('')).toContain('disconnected before its session was opened'), {
        timeout: 60_000,
      });
      expect((await renewLease(harness, second)).kind).toBe('lease');
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

  it('lives while its lease is renewed, and lapses without them', async () => {
    const quiet = await session(harness, 'quiet');
    const loud = await session(harness, 'loud');
    harness.clockAhead += 30_000;
    const from = harness.now();
    const renewed = await renewLease(harness, loud);
    expect(renewed.kind).toBe('lease');
    const renewedAt = renewed.kind === 'lease' ? renewed.lease_expires_at - 45 : 0;
    expect(renewedAt).toBeGreaterThanOrEqual(from);
    expect(renewedAt).toBeLessThanOrEqual(harness.now());
    harness.clockAhead += 20_000;
    await vi.waitFor(async () => expect((await renewLease(harness, quiet)).kind).toBe('ended'), {
      timeout: 60_000,
    });
    expect((await renewLease(harness, loud)).kind).toBe('lease');
  });

  it('gets no empty list of services while a starting broker has no access file in force', async () => {
    const who = await session(harness, 'early');
    harness.mesh.notReady = ['the access file has not been applied yet'];
    try {
      const renewed = await renewLease(harness, who);
      expect(renewed.kind).toBe('lease');
      expect(renewed).not.toHaveProperty('services_version');
      const services = await asSession(harness, who, { path: '/services' });
      expect([services.status, services.json.error_code]).toEqual([503, 'kubernetes_unavailable']);
    } finally {
      harness.mesh.notReady = [];
    }
    expect(await renewLease(harness, who)).toHaveProperty('services_version');
    expect((await asSession(harness, who, { path: '/services' })).json.services).toHaveLength(1);
  });

  it('ends at its limit', async () => {
    harness.mesh.setAccess([grant('dev', [], { session: 120 })]);
    const who = await session(harness, 'alice');
    expect(who.session.expires_at - who.expires_in - harness.now()).toBeLessThanOrEqual(0);
    expect(who.expires_in).toBeLessThanOrEqual(120);
    for (let n = 0; n < 4; n++) {
      await renewLease(harness, who);
      harness.clockAhead += 31_000;
    }
    expect((await renewLease(harness, who)).kind).not.toBe('lease');
    const answer = await asSession(harness, who, { path: '/services' });
    expect([answer.status, answer.json.error_code]).toEqual([401, 'session_closed']);
  });

  it('loses a grant that the access file removes, and ends with the last', async () => {
    const who = await session(harness, 'olga');
    await certificates(harness, who, ['dev', 'ops']);
    const { events, stop } = listen();
    harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:other'])]);
    const admitted = events.findLast((event) => event.type === 'admit' && event.session.id === who.session.id);
    expect(admitted?.type === 'admit' && admitted.session.principals).toHaveLength(1);
    await harness.revocationsSettled();
    const own = (namespace: string) =>
      harness.mesh.revoked.some(
        (one) => one.namespace === namespace && one.spiffeId.includes(who.session.id.slice(0, 12)),
      );
    expect([own('meshpass-ops'), own('meshpass-dev')]).toEqual([true, false]);
    expect((await certificates(harness, who, ['ops'])).json.error_code).toBe('grant_unknown');
    harness.mesh.setAccess([grant('dev', ['idp:other'])]);
    await vi.waitFor(async () => expect((await renewLease(harness, who)).kind).toBe('ended'), {
      timeout: 60_000,
    });
    // Edges hear of it once the store has it.
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ type: 'close', id: who.session.id }), {
      timeout: 60_000,
    });
    stop();
  });

  it('revokes as soon as the mesh answers again', async () => {
    const who = await session(harness, 'alice');
    await certificates(harness, who, ['dev']);
    harness.mesh.revokerDown = true;
    await asSession(harness, who, { method: 'DELETE', path: '/session' });
    const metrics = await harness.operatorCall('/metrics');
    expect(metrics.text).toMatch(/meshpass_revocations_pending [1-9]/);
    harness.mesh.revokerDown = false;
    await harness.revocationsSettled();
    expect(harness.mesh.revoked.some((one) => one.spiffeId.includes(who.session.id.slice(0, 12)))).toBe(true);
  });

  it('is closed only by an authenticated operator', async () => {
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
    expect((await renewLease(harness, who)).kind).toBe('ended');
  });

  it('survives a restart of the broker, with a new lease, and keeps what was revoked', async () => {
    const who = await session(harness, 'alice');
    const gone = await session(harness, 'bob');
    await certificates(harness, gone, ['dev']);
    await asSession(harness, gone, { method: 'DELETE', path: '/session' });
    const kid = (await harness.call({ path: '/jwks' })).json.keys[0].kid;
    harness.mesh.revoked = [];
    await harness.restart();
    expect((await renewLease(harness, who)).kind).toBe('lease');
    expect(await renewLease(harness, gone)).toMatchObject({ kind: 'refused', status: 401 });
    expect((await harness.call({ path: '/jwks' })).json.keys[0].kid).toBe(kid);
    await harness.revocationsSettled();
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
    await certificates(harness, who, ['dev']);
    await derive(harness, who);
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
