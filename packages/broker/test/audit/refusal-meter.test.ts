/** Endless refusals of strangers: the rows that they write, and their effect on other callers. */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type AuditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { createRefusalMeter } from '../../src/audit/log/refusal-meter.ts';
import { readStore } from '../harness/audit.ts';
import {
  type Answer,
  asSession,
  type Call,
  enrol,
  type Harness,
  newKey,
  send,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

describe('a broker that strangers have refuse them', () => {
  let harness: Harness;
  let reviewed: string[];
  let agents: Agent[];
  let review: () => Promise<void>;
  beforeEach(async () => {
    reviewed = [];
    agents = [];
    review = async () => {};
    const reviewEdgeToken = async (token: string) => {
      reviewed.push(token);
      await review();
      return token === 'edge-token';
    };
    harness = await startHarness({ parts: () => ({ reviewEdgeToken }) });
    harness.mesh.setAccess([grant('dev')]);
  });
  afterEach(async () => {
    for (const agent of agents) agent.destroy();
    await harness?.stop();
  });

  function from(localAddress: string, maxSockets = 16): (call: Call) => Promise<Answer> {
    const agent = new Agent({
      ca: readFileSync(join(harness.dir, 'tls.crt')),
      localAddress,
      keepAlive: true,
      maxSockets,
    });
    agents.push(agent);
    return (call) => send(agent, harness.broker.port, call);
  }
  const flood = (call: (call: Call) => Promise<Answer>, one: Call, times: number) =>
    Promise.all(Array.from({ length: times }, () => call(one)));

  it('writes some rows of a source one by one and sums up the rest; sessions and neighbours have each of theirs', async () => {
    const alice = await session(harness, 'alice');
    const answers = await flood(from('127.0.0.2'), { path: '/services' }, 400);
    expect(new Set(answers.map(({ json }) => json.error_code))).toEqual(new Set(['session_token_missing']));
    const named = answers.filter(({ json }) => json.decision_id !== undefined).length;
    expect(named).toBeGreaterThanOrEqual(200);
    expect(named).toBeLessThan(300);
    await from('127.0.0.3')({ path: '/services' });
    for (let n = 0; n < 5; n++) {
      const wrong = { headers: { dpop: 'wrong' }, path: '/services' };
      expect((await asSession(harness, alice, wrong)).json.error_code).toBe('dpop_malformed');
    }
    const { text } = await harness.operatorCall('/metrics');
    const metered = /refusals_metered_total\{action="services.read",code="session_token_missing"\} (\d+)/.exec(
      text,
    )?.[1];
    expect(Number(metered)).toBe(400 - named);
    expect(text).toContain(
      'decisions_total{action="services.read",outcome="refused",code="session_token_missing"} 401',
    );
    expect(harness.log.filter((line) => line.includes('session_token_missing'))).toHaveLength(named + 1);

    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    const strangers = audit.filter(({ code }) => code === 'session_token_missing');
    const sum = strangers.find(({ reason }) => reason.includes('instead of recorded individually'));
    expect(sum).toMatchObject({ action: 'services.read', outcome: 'refused', source: '127.0.0.2' });
    expect(JSON.parse(sum!.detail!)).toMatchObject({ count: 400 - named });
    expect(strangers.filter(({ source }) => source === '127.0.0.2')).toHaveLength(named + 1);
    expect(strangers.filter(({ source }) => source === '127.0.0.3')).toHaveLength(1);
    expect(audit.filter(({ code, login }) => code === 'dpop_malformed' && login === 'alice')).toHaveLength(5);
    await harness.restart();
  });

  it('writes one row of an ID token that leads to nothing, however often it is sent', async () => {
    harness.mesh.setAccess([grant('dev', ['nobody'])]);
    const token = await harness.idp.prove('mallory');
    expect((await enrol(harness, 'mallory', newKey(), token)).json.error_code).toBe('access_none');
    expect((await enrol(harness, 'mallory', newKey(), token)).json.error_code).toBe('proof_replayed');
    const codes: string[] = [];
    for (let n = 0; n < 300; n++) codes.push((await enrol(harness, 'mallory', newKey(), token)).json.error_code);
    expect(new Set(codes)).toEqual(new Set(['proof_replayed']));
    const others = await Promise.all(Array.from({ length: 20 }, (_, n) => enrol(harness, `m${n}`)));
    expect(new Set(others.map(({ json }) => json.error_code))).toEqual(new Set(['access_none']));
    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    const rows = audit.filter(({ login }) => login === 'mallory');
    expect(rows.filter(({ code }) => code === 'access_none')).toHaveLength(1);
    expect(rows.length).toBeLessThan(260);
    expect(audit.filter(({ reason }) => reason.includes('instead of recorded individually'))).not.toEqual([]);
    await harness.restart();
  });

  it('has each wrong token reviewed once, few of a source, and those of edges every time', async () => {
    const stream = (token: string): Call => ({
      method: 'POST',
      path: '/edge/decisions',
      body: '{"decisions":[]}',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
    const stranger = from('127.0.0.2');
    for (let n = 0; n < 10; n++) expect((await stranger(stream('wrong'))).json.error_code).toBe('edge_unauthorized');
    expect(reviewed).toEqual(['wrong']);
    const codes: string[] = [];
    for (let n = 0; n < 30; n++) codes.push((await stranger(stream(`wrong-${n}`))).json.error_code);
    expect(reviewed.length).toBeLessThan(25);
    expect(codes.at(-1)).toBe('too_many_attempts');

    reviewed = [];
    const edge = from('127.0.0.4');
    for (let n = 0; n < 3; n++) expect((await edge(stream('edge-token'))).status).toBe(204);
    expect(reviewed).toEqual(['edge-token', 'edge-token', 'edge-token']);
    for (let n = 0; n < 30; n++) await edge(stream(`wrong-too-${n}`));
    expect((await edge(stream('edge-token'))).status).toBe(204);
  });

  it('reviews no more wrong tokens that come at once than those that come one by one, and gives an edge its try back', async () => {
    const stream = (token: string): Call => ({
      method: 'POST',
      path: '/edge/decisions',
      body: '{"decisions":[]}',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
    const go = Promise.withResolvers<void>();
    review = () => go.promise;
    const stranger = from('127.0.0.2', 64);
    const answers = Promise.all(Array.from({ length: 60 }, (_, n) => stranger(stream(`wrong-${n}`))));
    // The others wait for the verdict on these.
    await vi.waitFor(() => expect(reviewed.length).toBeGreaterThanOrEqual(20), { timeout: 60_000, interval: 20 });
    go.resolve();
    expect((await answers).map(({ json }) => json.error_code)).toContain('too_many_attempts');
    expect(reviewed.length).toBeLessThan(25);

    reviewed = [];
    const accepted = await Promise.all(
      Array.from({ length: 15 }, async () => (await from('127.0.0.5')(stream('edge-token'))).status),
    );
    expect(new Set(accepted)).toEqual(new Set([204]));
    for (let n = 0; n < 25; n++) expect((await from('127.0.0.5')(stream('edge-token'))).status).toBe(204);
  });
});

describe('the meter', () => {
  const parts = () => {
    let now = 0;
    const meter = createRefusalMeter({
      clock: () => now,
      random: (bytes: number) => Buffer.alloc(bytes),
      onMetered: () => {},
    });
    const refused = (group: string, times: number, code = 'dpop_missing') => {
      const event = createAuditEvent(
        'session.open',
        {},
        () => now,
        (bytes) => Buffer.alloc(bytes),
      );
      return Array.from({ length: times }, () => meter.admit(event, code, group)).filter(Boolean).length;
    };
    return { meter, refused, pass: (ms: number) => (now += ms) };
  };
  const counts = (rows: readonly AuditRow[]) => rows.map(({ source, detail }) => [source, JSON.parse(detail!).count]);

  it('allows a source rows again with time, and counts the others', () => {
    const { meter, refused, pass } = parts();
    expect(refused('192.0.2.1', 210)).toBe(200);
    pass(5_000);
    expect(refused('192.0.2.1', 10)).toBe(5);
    expect(counts(meter.takeRows())).toEqual([['192.0.2.1', 15]]);
    expect(meter.takeRows()).toEqual([]);
  });

  it('meters people whom an issuer confirmed separately, by source and by Codespace', () => {
    const { meter, refused } = parts();
    const known = (group: string, workspace: string, times: number) => {
      const event = createAuditEvent(
        'session.open',
        {},
        () => 0,
        (bytes) => Buffer.alloc(bytes),
      );
      const identified = { ...event, subject: 'github:1', workspace };
      return Array.from({ length: times }, () => meter.admit(identified, 'presence_required', group)).filter(Boolean)
        .length;
    };
    expect(refused('192.0.2.1', 300)).toBe(200);
    expect(known('192.0.2.1', 'codespace:1', 150)).toBe(150);
    expect(known('192.0.2.2', 'codespace:1', 150)).toBe(50);
    expect(known('192.0.2.2', 'codespace:2', 10)).toBe(10);
    expect(known('192.0.2.1', 'codespace:3', 100)).toBe(50);
  });

  it('bounds the rows of all sources together, and sums, however many sources there are', () => {
    const { meter, refused } = parts();
    let own = 0;
    for (let n = 0; n < 3_000; n++) own += refused(`2001:db8:0:${n.toString(16)}::/64`, 1);
    expect(own).toBe(2_000);
    const rows = meter.takeRows();
    expect(rows.length).toBeLessThanOrEqual(65);
    expect(counts(rows).reduce((sum, [, count]) => sum + Number(count), 0)).toBe(1_000);
    expect(counts(rows).at(-1)).toEqual(['many', 936]);
  });
});
