import type { AdmittedSession } from '@meshpass/identity/channel';
import { afterEach, describe, expect, test } from 'vitest';
import { createSessionDirectory, mayReach, type SessionDirectory } from '../src/directory.ts';

const A = 'spiffe://cluster.local/ns/meshpass-a/sa/alice';
const B = 'spiffe://cluster.local/ns/meshpass-b/sa/alice';
const ORDERS = { host: 'orders.shop.svc.cluster.local', port: 8080 };
const LEDGER = { host: 'ledger-db.shop.svc.cluster.local', port: 5432 };

let now = 1_000_000_000;
let directory: SessionDirectory;
afterEach(() => directory.close());

function start(): { heard: string[] } {
  directory = createSessionDirectory({ clock: () => now, staleMs: 10_000, abandonMs: 20_000 });
  const heard: string[] = [];
  directory.listen({
    closed: (id, reason) => heard.push(`closed ${id}: ${reason}`),
    changed: (session) => heard.push(`changed ${session.id}`),
    roots: (roots, removed) => heard.push(`roots ${roots.join()} ${removed}`),
  });
  return { heard };
}

function session(
  id: string,
  principals: readonly (readonly [string, (typeof ORDERS)[]])[],
  seconds = 3600,
): AdmittedSession {
  return {
    id,
    expires_at: now / 1000 + seconds,
    principals: principals.map(([spiffe_id, targets]) => ({ spiffe_id, targets })),
  };
}

describe('createDirectory', () => {
  test('knows no session before the first snapshot, whatever other events arrive', () => {
    start();
    directory.apply({ type: 'admit', session: session('s1', [[A, [ORDERS]]]) });
    expect(directory.state()).toBe('empty');
    expect(directory.find(A)).toBeUndefined();
  });

  test('finds a session by each of its principals, and each principal has its own targets', () => {
    start();
    directory.apply({
      type: 'snapshot',
      sessions: [
        session('s1', [
          [A, [ORDERS]],
          [B, [LEDGER]],
        ]),
      ],
      roots: ['r'],
    });
    const found = directory.find(A)!;
    expect(directory.find(B)).toBe(found);
    expect(mayReach(found, A, 'orders.shop.svc.cluster.local:8080')).toBe(true);
    expect(mayReach(found, A, 'ledger-db.shop.svc.cluster.local:5432')).toBe(false);
    expect(mayReach(found, B, 'ledger-db.shop.svc.cluster.local:5432')).toBe(true);
    expect(mayReach(found, 'spiffe://x', 'orders.shop.svc.cluster.local:8080')).toBe(false);
  });

  test('closes sessions that a new snapshot lacks', () => {
    const { heard } = start();
    directory.apply({ type: 'snapshot', sessions: [session('s1', [[A, []]]), session('s2', [[B, []]])], roots: [] });
    directory.apply({ type: 'snapshot', sessions: [session('s2', [[B, []]])], roots: [] });
    expect(heard).toEqual(['closed s1: the broker no longer knows the session', 'changed s2']);
    expect(directory.find(A)).toBeUndefined();
    expect(directory.size()).toBe(1);
  });

  test('keeps a principal with its newer session when the older one closes', () => {
    start();
    directory.apply({ type: 'snapshot', sessions: [session('old', [[A, []]])], roots: [] });
    directory.apply({ type: 'admit', session: session('new', [[A, []]]) });
    directory.apply({ type: 'close', id: 'old', reason: 'replaced' });
    expect(directory.find(A)?.id).toBe('new');
  });

  test('forgets a principal that its session lost', () => {
    start();
    directory.apply({
      type: 'snapshot',
      sessions: [
        session('s1', [
          [A, []],
          [B, []],
        ]),
      ],
      roots: [],
    });
    directory.apply({ type: 'admit', session: session('s1', [[A, []]]) });
    expect(directory.find(B)).toBeUndefined();
  });

  test('expires a session by the clock, at once for look-ups and at the next sweep for its tunnels', () => {
    const { heard } = start();
    directory.apply({
      type: 'snapshot',
      sessions: [session('s1', [[A, []]], 5), session('s2', [[B, []]], 6)],
      roots: [],
    });
    now += 5_000;
    expect(directory.find(A)).toBeUndefined();
    directory.sweep();
    expect(heard).toEqual(['closed s1: the session has expired']);
    now += 1_000;
    directory.sweep();
    expect(heard).toHaveLength(2);
  });

  test('drops an ended grant while the broker is silent, and keeps the others', () => {
    const { heard } = start();
    const of = (until: number | undefined) => {
      const told = session('s1', [
        [A, [ORDERS]],
        [B, [LEDGER]],
      ]);
      return { ...told, principals: told.principals.map((one) => (one.spiffe_id === A ? { ...one, until } : one)) };
    };
    const end = now / 1000 + 2;
    directory.apply({ type: 'snapshot', sessions: [of(end)], roots: [] });
    now += 2_500;
    directory.sweep();
    expect([heard, directory.find(A)?.id]).toEqual([[], 's1']);
    now += 4_500;
    directory.sweep();
    expect(heard).toEqual(['changed s1']);
    expect(directory.find(A)).toBeUndefined();
    expect(mayReach(directory.find(B)!, A, 'orders.shop.svc.cluster.local:8080')).toBe(false);
    expect(mayReach(directory.find(B)!, B, 'ledger-db.shop.svc.cluster.local:5432')).toBe(true);
    directory.sweep();
    expect(heard).toHaveLength(1);
    // The snapshot of a lagging broker does not restore the grant; an extended grant does.
    directory.apply({ type: 'snapshot', sessions: [of(end)], roots: [] });
    expect(directory.find(A)).toBeUndefined();
    directory.apply({ type: 'admit', session: of(end + 60) });
    expect(directory.find(A)?.id).toBe('s1');
    // Session of a broker that sends no ends.
    directory.apply({ type: 'admit', session: of(undefined) });
    now += 9_000;
    directory.apply({ type: 'beat', at: 0 });
    directory.sweep();
    expect(directory.find(A)?.id).toBe('s1');
  });

  test('becomes stale in silence, then closes all sessions, and recovers only with a snapshot', () => {
    const { heard } = start();
    directory.apply({ type: 'snapshot', sessions: [session('s1', [[A, []]])], roots: [] });
    now += 9_000;
    directory.apply({ type: 'beat', at: 0 });
    now += 10_001;
    expect(directory.state()).toBe('stale');
    expect(directory.find(A)).toBeUndefined();
    directory.sweep();
    expect(heard).toEqual([]);
    directory.apply({ type: 'beat', at: 0 });
    expect(directory.find(A)?.id).toBe('s1');
    now += 20_001;
    directory.sweep();
    expect(heard).toEqual(['closed s1: the broker has been silent for too long']);
    directory.apply({ type: 'beat', at: 0 });
    directory.apply({ type: 'admit', session: session('s1', [[A, []]]) });
    expect([directory.state(), directory.find(A)]).toEqual(['abandoned', undefined]);
    directory.apply({ type: 'snapshot', sessions: [session('s1', [[A, []]])], roots: [] });
    expect(directory.find(A)?.id).toBe('s1');
  });

  test('keeps sessions until an SVID could have expired, and reports the silence', () => {
    start();
    directory.close();
    directory = createSessionDirectory({ clock: () => now });
    expect(directory.silentFor()).toBe(0);
    directory.apply({ type: 'snapshot', sessions: [session('s1', [[A, []]])], roots: [] });
    now += 600_000;
    directory.sweep();
    expect([directory.state(), directory.silentFor(), directory.find(A)?.id]).toEqual(['fresh', 600_000, 's1']);
    now += 1;
    directory.sweep();
    expect([directory.state(), directory.find(A)]).toEqual(['abandoned', undefined]);
  });

  test('reports changed roots, and whether one was removed', () => {
    const { heard } = start();
    directory.apply({ type: 'snapshot', sessions: [], roots: ['r1'] });
    directory.apply({ type: 'roots', roots: ['r1', 'r2'] });
    directory.apply({ type: 'roots', roots: ['r1', 'r2'] });
    directory.apply({ type: 'roots', roots: ['r2'] });
    expect(heard).toEqual(['roots r1 false', 'roots r1,r2 false', 'roots r2 true']);
  });

  test('is stale once closed', () => {
    start();
    directory.apply({ type: 'snapshot', sessions: [session('s1', [[A, []]])], roots: [] });
    directory.close();
    expect(directory.find(A)).toBeUndefined();
  });
});
