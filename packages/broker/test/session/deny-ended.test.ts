import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { createCsr } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createDenialPredicate, type DenyEndedMode, undeniedDetail } from '../../src/core/session/deny/ended.ts';
import { createRevocations } from '../../src/core/session/revocations.ts';
import type { RevokedPrincipal } from '../../src/mesh/reconcile/revocation/revoker.ts';
import { parseBrokerConfig } from '../../src/start/config.ts';
import { CLOSE_CAUSES } from '../../src/store/close-causes.ts';
import { readStore } from '../harness/audit.ts';
import { asSession, type Enrolled, type Harness, OPERATOR_TOKEN, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const principal = (name: string, more: Partial<RevokedPrincipal> = {}): RevokedPrincipal => ({
  namespace: 'meshpass-dev',
  serviceAccount: name,
  until: Math.floor(Date.now() / 1000) + 600,
  spiffeId: `spiffe://cluster.local/ns/meshpass-dev/sa/${name}`,
  ...more,
});

describe('which ends are denied in the mesh', () => {
  it('are by default those that revoke access', () => {
    const config = parseBrokerConfig({
      publicUrl: 'https://broker.example',
      listen: { host: '127.0.0.1', port: 0 },
      dataDir: '/data',
      tls: { certFile: '/tls.crt', keyFile: '/tls.key' },
      edge: { host: 'edge.example', port: 443 },
    });
    expect(config.denyEnded).toBe('revoked');
  });

  it('are all of them with "always", even one of unknown cause', () => {
    const denies = createDenialPredicate('always');
    for (const cause of [...CLOSE_CAUSES, undefined, 'a later one']) expect(denies(cause)).toBe(true);
  });

  it('are with "revoked" those that revoke access of a workspace that may still run, and those of unknown cause', () => {
    const denies = createDenialPredicate('revoked');
    expect(CLOSE_CAUSES.filter(denies)).toEqual([
      ...[
        'operator',
        'access_removed',
        'issuer_removed',
        'membership_lost',
        'approval_revoked',
        'signed_out',
        'sign_in_lapsed',
        'store_restored',
      ],
    ]);
    for (const cause of [undefined, 'a later one', 'constructor']) expect(denies(cause)).toBe(true);
  });

  it('appear in the audit row only if they are not denied', () => {
    expect(undeniedDetail([principal('a'), principal('b', { undenied: false })])).toEqual({});
    const until = Date.parse('2026-11-24T12:00:00Z') / 1000;
    expect(undeniedDetail([principal('a', { undenied: true, until })])).toMatchObject({
      denied_in_mesh: false,
      svids_live_until: expect.stringMatching(/^2026-11-24T12:00:00/),
    });
  });
});

describe('the list for the mesh', () => {
  it('keeps a principal denied once it was, and collects the ends during one write for the next', async () => {
    const told: (readonly RevokedPrincipal[])[] = [];
    let release = () => {};
    const first = new Promise<void>((resolve) => {
      release = resolve;
    });
    const revocations = createRevocations({
      mesh: { onChange: () => () => {} },
      revoker: {
        apply: async (list) => {
          told.push(list);
          if (told.length === 1) await first;
        },
        collectOrphans: async () => [],
        principals: async () => [],
      },
      clock: Date.now,
      initial: [],
      onFailure: () => undefined,
    });
    await vi.waitFor(() => expect(told).toHaveLength(1), { timeout: 60_000 });
    for (let one = 0; one < 50; one += 1) revocations.add([principal(`many-${one}`, { undenied: true })]);
    revocations.add([principal('denied', { undenied: false })]);
    revocations.add([principal('denied', { undenied: true })]);
    revocations.add([principal('many-0')]);
    revocations.add([principal('many-1', { undenied: false })]);
    release();
    await vi.waitFor(() => expect(revocations.pending()).toBe(0), { timeout: 60_000 });
    revocations.stop();
    expect(told).toHaveLength(2);
    const denied = told[1]!.filter(({ undenied }) => !undenied).map(({ serviceAccount }) => serviceAccount);
    expect(denied).toEqual(['many-1', 'denied']);
  });
});

describe('a broker that denies revoked sessions only', () => {
  const config: { denyEnded: DenyEndedMode } = { denyEnded: 'revoked' };
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness({ config });
    harness.mesh.setAccess([grant('dev'), grant('ops')]);
  });
  afterAll(() => harness.stop());

  const open = async (subject: string): Promise<Enrolled> => {
    const who = await session(harness, subject);
    const csr = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    const certificates = ['dev', 'ops'].map((name) => ({ grant: name, csr }));
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ certificates });
    expect(await asSession(harness, who, { method: 'POST', path: '/certificates', headers, body })).toMatchObject({
      status: 200,
    });
    return who;
  };
  /** Whether each principal of the session is denied, by grant. */
  const denied = ({ session: { id } }: Enrolled) =>
    Object.fromEntries(
      harness.mesh.revoked
        .filter(({ serviceAccount }) => serviceAccount.includes(id.slice(0, 12)))
        .map(({ namespace, undenied }) => [namespace, !undenied]),
    );

  it('reports denials to the mesh and the drill by cause, and the same after a restart', async () => {
    const gone = await open('gerd');
    const closed = await open('olga');
    const late = await open('lena');
    await asSession(harness, gone, { method: 'DELETE', path: '/session' });
    await asSession(harness, late, { method: 'DELETE', path: '/session' });
    const answer = await harness.operatorCall({
      method: 'POST',
      path: '/admin/sessions/close',
      headers: { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ id: closed.session.id }),
    });
    expect(answer.status).toBe(200);
    // A removed grant stays denied, regardless of what ends the rest of the session.
    const narrowed = await open('nora');
    harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:nobody'])]);
    const neither = { 'meshpass-dev': false, 'meshpass-ops': false };
    const both = { 'meshpass-dev': true, 'meshpass-ops': true };
    await vi.waitFor(() => expect(denied(narrowed)).toEqual({ 'meshpass-ops': true }), { timeout: 60_000 });
    await asSession(harness, narrowed, { method: 'DELETE', path: '/session' });
    const check = () => {
      expect(denied(gone)).toEqual(neither);
      expect(denied(closed)).toEqual(both);
      expect(denied(narrowed)).toEqual({ 'meshpass-dev': false, 'meshpass-ops': true });
    };
    await vi.waitFor(check, { timeout: 60_000 });
    harness.mesh.revoked = [];
    await harness.restart();
    await vi.waitFor(check, { timeout: 60_000 });

    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    const drilled = async ({ session: { id } }: Enrolled) =>
      (await harness.operatorCall({ path: `/admin/drill/sessions/${id}`, headers })).json.principals.map(
        (one: { denied: boolean }) => one.denied,
      );
    expect(await drilled(gone)).toEqual([false, false]);
    expect(await drilled(closed)).toEqual([true, true]);
    expect((await drilled(narrowed)).sort()).toEqual([false, true]);

    // An operator closes an ended session to deny it, and the next broker still denies it.
    const again = async () => {
      const order = { method: 'POST', path: '/admin/sessions/close', body: JSON.stringify({ id: late.session.id }) };
      return (await harness.operatorCall({ ...order, headers: { ...headers, 'content-type': 'application/json' } }))
        .json;
    };
    expect(await again()).toEqual({ closed: [], denied: [late.session.id] });
    expect(await again()).toEqual({ closed: [], denied: [] });
    await vi.waitFor(() => expect([denied(late), denied(gone)]).toEqual([both, neither]), { timeout: 60_000 });
    harness.mesh.revoked = [];
    await harness.restart();
    await vi.waitFor(() => expect([denied(late), denied(gone)]).toEqual([both, neither]), { timeout: 60_000 });

    // After a restart with `always`, the broker also denies the last ends.
    config.denyEnded = 'always';
    await harness.restart();
    await vi.waitFor(() => expect([denied(gone), denied(narrowed)]).toEqual([both, both]), { timeout: 60_000 });
    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    const row = audit.find((one) => one.action === 'session.close' && one.session_id === gone.session.id);
    expect(JSON.parse(row!.detail!)).toMatchObject({ cause: 'goodbye', denied_in_mesh: false });
  });
});
