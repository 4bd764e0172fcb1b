/** Reports of edges in the audit log. */
import { join } from 'node:path';
import type { EdgeEvent } from '@meshpass/identity/channel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readStore } from '../harness/audit.ts';
import { asSession, type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

describe('the broker', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness();
    harness.mesh.setAccess([grant('dev')]);
  });
  afterAll(() => harness.stop());

  it('audits decisions of edges once, even if they report them again', async () => {
    const who = await session(harness, 'tunnel');
    const decision = {
      id: 'edge-decision-1',
      at: Date.now(),
      outcome: 'refused',
      code: 'tunnel_target_not_granted',
      reason: 'no',
      session_id: who.session.id,
      target: 'web.dev:80',
      source: '192.0.2.1',
    };
    const report = () =>
      harness.call({
        method: 'POST',
        path: '/edge/decisions',
        headers: { authorization: 'Bearer edge-token', 'content-type': 'application/json' },
        body: JSON.stringify({ decisions: [decision] }),
      });
    expect((await report()).status).toBe(204);
    expect((await report()).status).toBe(204);
    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    const rows = audit.filter((row) => row.action === 'tunnel');
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ subject: 'idp:tunnel', target: 'web.dev:80', code: 'tunnel_target_not_granted' });
    expect(audit.some((row) => row.action === 'broker.stop')).toBe(true);
    await harness.restart();
  });

  it.each([
    ['id', '\0'],
    ['id', 'x'.repeat(65)],
    ['session_id', 'x'.repeat(65)],
    ['code', 'x'.repeat(65)],
    ['at', 1e300],
  ])('refuses a report whose %s is out of bounds: %j', async (member, value) => {
    const decision = { id: 'bounded', at: 1, outcome: 'refused', reason: 'no', source: '192.0.2.1', [member]: value };
    const { status } = await harness.call({
      method: 'POST',
      path: '/edge/decisions',
      headers: { authorization: 'Bearer edge-token', 'content-type': 'application/json' },
      body: JSON.stringify({ decisions: [decision] }),
    });
    expect(status).toBe(400);
  });

  it('names the person behind reports of edges after the session has ended', async () => {
    const who = await session(harness, 'left');
    const heard: EdgeEvent[] = [];
    harness.broker.feed.subscribe((event) => heard.push(event))();
    const [snapshot] = heard;
    const admitted = snapshot?.type === 'snapshot' && snapshot.sessions.find(({ id }) => id === who.session.id);
    const [principal] = admitted ? admitted.principals : [];
    expect((await asSession(harness, who, { method: 'DELETE', path: '/session' })).status).toBe(204);
    const decision = {
      id: 'edge-decision-2',
      at: Date.now(),
      outcome: 'allowed',
      reason: 'yes',
      source: '192.0.2.1:1',
      session_id: who.session.id,
      spiffe_id: principal!.spiffe_id,
      target: 'web.dev:80',
    };
    const { status } = await harness.call({
      method: 'POST',
      path: '/edge/decisions',
      headers: { authorization: 'Bearer edge-token', 'content-type': 'application/json' },
      body: JSON.stringify({ decisions: [decision] }),
    });
    expect(status).toBe(204);
    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    const row = audit.find(({ id }) => id === 'edge-decision-2');
    expect(row).toMatchObject({ subject: 'idp:left', session_id: who.session.id, grant_name: 'dev' });
    await harness.restart();
  });
});
