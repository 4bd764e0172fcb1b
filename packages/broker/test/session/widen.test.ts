/** Grants that a live session gains: by a time window, a wider access file, an approval; and how it loses them again. */

import { join } from 'node:path';
import { authorize } from '@meshpass/access';
import type { MeshpassError } from '@meshpass/identity';
import type { EdgeEvent, LeaseStatement } from '@meshpass/identity/channel';
import { ServicesResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SessionContext } from '../../src/core/session/context.ts';
import { type GainRequest, gain } from '../../src/core/session/widen.ts';
import { readStore } from '../harness/audit.ts';
import {
  asSession,
  certificates,
  derive,
  type Enrolled,
  type Harness,
  renewLease,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

/** Sessions of the running broker. */
const running = vi.hoisted(() => ({}) as { sessions: SessionContext });
vi.mock('../../src/core/session/gain/queue.ts', async (original) => {
  const real = await original<typeof import('../../src/core/session/gain/queue.ts')>();
  const startGainQueue: typeof real.startGainQueue = (sessions, ...given) => {
    running.sessions = sessions;
    return real.startGainQueue(sessions, ...given);
  };
  return { ...real, startGainQueue };
});

const place = { file: 'access.yaml', line: 9, column: 5 };
const approval = { place, by: [{ place, user: 'lead' }], for: 3600, max: 7200, reason: 'optional', count: 1 } as const;

describe('a live session', () => {
  let harness: Harness;
  /** Happens once, when the next session has been decided and has not opened. */
  let opensWhile: { readonly subject: string; readonly happens: () => void } | undefined;
  beforeAll(async () => {
    // The real decision: windows, approvals and CEL.
    const decide: typeof authorize = (...given) => {
      const decision = authorize(...given);
      // The session is not live yet: what happens now goes past it.
      if (opensWhile && given[0].subject === `idp:${opensWhile.subject}`) {
        const { happens } = opensWhile;
        opensWhile = undefined;
        happens();
      }
      return decision;
    };
    harness = await startHarness({ parts: () => ({ authorize: decide }) });
  });
  beforeEach(() => {
    harness.mesh.beforeSigning = async () => {};
    harness.mesh.setAccess([everybody('dev')]);
  });
  afterAll(() => harness.stop());

  const everybody = (name: string, more: Parameters<typeof grant>[2] = {}) =>
    grant(name, [], { who: [{ place, issuer: 'idp' }], ...more });
  const listen = (who: Enrolled) => {
    const events: EdgeEvent[] = [];
    const stop = harness.broker.feed.subscribe((event) => events.push(event));
    const admitted = () =>
      events.flatMap((one) => (one.type === 'admit' && one.session.id === who.session.id ? [one.session] : []));
    return { admitted, stop };
  };
  const heldBy = async (who: Enrolled) => {
    const answer = await asSession(harness, who, { path: '/services' });
    return Object.fromEntries(ServicesResponse.parse(answer.json).held.map((one) => [one.grant, one]));
  };
  const servicesVersion = async (who: Enrolled) =>
    ((await renewLease(harness, who)) as LeaseStatement).services_version;
  const holds = (who: Enrolled, names: readonly string[]) =>
    vi.waitFor(async () => expect(Object.keys(await heldBy(who)).sort()).toEqual([...names].sort()), {
      timeout: 20_000,
    });
  const liveOf = (who: Enrolled) => running.sessions.live.byId(who.session.id)!;
  const approve = (who: Enrolled, name: string, seconds: number, more: Partial<GainRequest> = {}, live = liveOf(who)) =>
    gain(running.sessions, live, name, {
      cause: 'approved',
      until: harness.now() + seconds,
      reason: 'by petra',
      detail: {},
      decided: () => ({ changes: () => {}, written: () => {} }),
      ...more,
    });

  it('gains the grants of a wider access file, and edges, certificates and tokens follow', async () => {
    const who = await session(harness, 'alice');
    const before = await servicesVersion(who);
    const { admitted, stop } = listen(who);
    harness.mesh.setAccess([everybody('first'), everybody('dev')]);
    await holds(who, ['first', 'dev']);
    expect(
      admitted()
        .at(-1)
        ?.principals.map((one) => one.targets),
    ).toHaveLength(2);
    stop();
    expect(await servicesVersion(who)).not.toBe(before);
    const held = await heldBy(who);
    expect([held.first?.gained, held.dev?.gained]).toEqual(['access_widened', undefined]);
    const issued = await certificates(harness, who, ['first']);
    expect(issued.json.certificates[0].spiffe_id).toBe(held.first?.spiffe_id);
    expect(held.first?.spiffe_id).toContain(`/ns/meshpass-first/sa/alice-${who.session.id.slice(0, 12)}-`);
    const token = (await derive(harness, who)).json.access_token.split('.')[1];
    expect(JSON.parse(Buffer.from(token, 'base64url').toString()).grants).toEqual(['dev', 'first']);
  });

  it('gains a grant of a file, or a window, that came into force while it opened', async () => {
    const opening = async (subject: string, meanwhile: () => void) => {
      opensWhile = { subject, happens: meanwhile };
      const who = await session(harness, subject);
      expect(opensWhile).toBeUndefined();
      return who;
    };
    const filed = await opening('fred', () => harness.mesh.setAccess([everybody('dev'), everybody('more')]));
    await holds(filed, ['dev', 'more']);
    expect((await heldBy(filed)).more?.gained).toBe('access_widened');
    const after = harness.now() + 20;
    const during = [{ place, zone: 'UTC', after, before: after + 1_000 }] as never;
    harness.mesh.setAccess([everybody('dev'), everybody('timed', { during })]);
    const timed = await opening('wilma', () => {
      harness.clockAhead += 21_000;
    });
    await holds(timed, ['dev', 'timed']);
    expect((await heldBy(timed)).timed?.gained).toBe('window_opened');
  });

  it('gets the right cause from a broker that takes over and finds an unchecked change', async () => {
    const opens = harness.now() + 100;
    const during = [{ place, zone: 'UTC', after: opens, before: opens + 1_000 }] as never;
    const open = [{ place, zone: 'UTC', after: opens - 1_000, before: opens + 1_000 }] as never;
    harness.mesh.setAccess([everybody('dev'), everybody('timed', { during })]);
    const who = await session(harness, 'erin');
    await holds(who, ['dev']);
    await harness.restart(() => {
      harness.clockAhead += 101_000;
      harness.mesh.setAccess([everybody('dev'), everybody('timed', { during }), everybody('wide', { during: open })]);
    });
    await renewLease(harness, who);
    await holds(who, ['dev', 'timed', 'wide']);
    const held = await heldBy(who);
    expect([held.timed?.gained, held.wide?.gained]).toEqual(['window_opened', 'access_widened']);
  });

  it('gains no grant that the file has for others, or that is denied to it', async () => {
    const who = await session(harness, 'mallory');
    const other = await session(harness, 'nina');
    const denied = { place, issuer: 'idp', when: 'subject == "idp:mallory"' };
    harness.mesh.setAccess([
      everybody('dev'),
      grant('ops', ['idp:nina']),
      everybody('all', { except: [denied] }),
      everybody('asked', { approval }),
    ]);
    await holds(other, ['dev', 'ops', 'all']);
    await holds(who, ['dev']);
  });

  it('gains a grant when its time window opens, loses it when it closes, and gains it again as another principal', async () => {
    const opens = harness.now() + 100;
    harness.mesh.setAccess([
      everybody('dev'),
      everybody('timed', {
        during: [
          { place, zone: 'UTC', after: opens, before: opens + 100 },
          { place, zone: 'UTC', after: opens + 200, before: opens + 300 },
        ] as never,
      }),
    ]);
    const who = await session(harness, 'tim');
    const advance = async (seconds: number) => {
      for (let left = seconds; left > 0; left -= 30) {
        await renewLease(harness, who);
        harness.clockAhead += Math.min(left, 30) * 1000;
      }
      await renewLease(harness, who);
    };
    await holds(who, ['dev']);
    await advance(101);
    await holds(who, ['dev', 'timed']);
    const first = (await heldBy(who)).timed!;
    expect(first).toMatchObject({ gained: 'window_opened', until: opens + 100 });
    await certificates(harness, who, ['timed']);
    await advance(100);
    await holds(who, ['dev']);
    await harness.revocationsSettled();
    const isDenied = (spiffeId: string) => harness.mesh.revoked.some((one) => one.spiffeId === spiffeId);
    expect(isDenied(first.spiffe_id)).toBe(true);
    await advance(100);
    await holds(who, ['dev', 'timed']);
    const second = (await heldBy(who)).timed!;
    expect(second.spiffe_id).not.toBe(first.spiffe_id);
    expect((await certificates(harness, who, ['timed'])).json.certificates[0].spiffe_id).toBe(second.spiffe_id);
    await harness.revocationsSettled();
    expect([isDenied(first.spiffe_id), isDenied(second.spiffe_id)]).toEqual([true, false]);
  });

  it('gains an approved grant, keeps it through other changes and a restart, and loses it on time', async () => {
    harness.mesh.setAccess([everybody('dev'), everybody('prod', { approval })]);
    const who = await session(harness, 'petra');
    await holds(who, ['dev']);
    await approve(who, 'prod', 40, { reason: 'INC-4711', detail: { approvers: ['github:1'] } });
    expect((await heldBy(who)).prod?.gained).toBe('approved');
    await certificates(harness, who, ['prod']);
    harness.mesh.setAccess([everybody('dev', { ttl: 300 }), everybody('prod', { approval })]);
    await holds(who, ['dev', 'prod']);
    await harness.restart();
    await holds(who, ['dev', 'prod']);
    await renewLease(harness, who);
    const { spiffe_id } = (await heldBy(who)).prod!;
    harness.clockAhead += 41_000;
    await renewLease(harness, who);
    await holds(who, ['dev']);
    await harness.revocationsSettled();
    expect(harness.mesh.revoked.map((one) => one.spiffeId)).toContain(spiffe_id);
    // Time alone does not give it back.
    await harness.restart();
    await holds(who, ['dev']);
    await harness.broker.close();
    const { audit, principals } = await readStore({ dataDir: join(harness.dir, 'data') });
    const rows = audit.filter((row) => row.session_id === who.session.id && row.action.startsWith('session.'));
    expect(rows.map((row) => [row.action, row.outcome, row.grant_name])).toEqual([
      ['session.open', 'allowed', 'dev'],
      ['session.widen', 'allowed', 'prod'],
      ['session.narrow', 'ended', 'prod'],
    ]);
    expect(rows[1]).toMatchObject({ reason: 'INC-4711', target: spiffe_id, subject: 'idp:petra' });
    expect(JSON.parse(rows[1]!.detail!)).toMatchObject({ cause: 'approved', approvers: ['github:1'] });
    expect(JSON.parse(rows[2]!.detail!)).toMatchObject({ cause: 'expired', gained: { prod: 'approved' } });
    expect(principals.find((one) => one.spiffe_id === spiffe_id)).toMatchObject({ revoke_cause: 'expired' });
    await harness.restart();
  });

  it('gains no grant that the file does not offer it, and none after its end', async () => {
    harness.mesh.setAccess([everybody('dev'), grant('prod', ['idp:other'], { approval })]);
    const who = await session(harness, 'gustav');
    const live = liveOf(who);
    const refused = (name: string, seconds: number) =>
      approve(who, name, seconds, {}, live).then(
        () => undefined,
        ({ code, detail }: MeshpassError) => [code, detail.reason],
      );
    expect(await refused('prod', 40)).toEqual(['access_none', expect.stringContaining('"when" is false')]);
    expect(await refused('nothing', 40)).toEqual(['access_none', 'the access file has no such grant']);
    harness.mesh.setAccess([everybody('dev'), everybody('prod', { approval })]);
    expect(await refused('prod', -1)).toEqual(['access_none', 'it has expired']);
    await asSession(harness, who, { method: 'DELETE', path: '/session' });
    expect((await refused('prod', 40))?.[0]).toBe('session_closed');
  });

  it('has one principal of a grant that it gains twice at once, for the longer time', async () => {
    harness.mesh.setAccess([everybody('dev'), everybody('prod', { approval })]);
    const who = await session(harness, 'zoe');
    await Promise.all([approve(who, 'prod', 40), approve(who, 'prod', 80), approve(who, 'prod', 60)]);
    const answer = await asSession(harness, who, { path: '/services' });
    const held = ServicesResponse.parse(answer.json).held;
    expect(held.map((one) => one.grant)).toEqual(['dev', 'prod']);
    expect(held[1]?.until).toBeGreaterThan(harness.now() + 70);
    expect(held[1]?.until).toBeLessThanOrEqual(harness.now() + 80);
    await harness.broker.close();
    const { principals } = await readStore({ dataDir: join(harness.dir, 'data') });
    const own = principals.filter((one) => one.session_id === who.session.id);
    expect(own.map((one) => one.spiffe_id).sort()).toEqual(held.map((one) => one.spiffe_id).sort());
    await harness.restart();
  });

  it('does not keep, by a gain, a grant that it loses at the same moment, in memory or in the store', async () => {
    harness.mesh.setAccess([everybody('dev'), everybody('ops'), everybody('prod', { approval })]);
    const who = await session(harness, 'ralf');
    const given = approve(who, 'prod', 400);
    harness.mesh.setAccess([everybody('dev'), everybody('prod', { approval })]);
    await given;
    await holds(who, ['dev', 'prod']);
    await harness.restart();
    await holds(who, ['dev', 'prod']);
  });

  it('cannot gain more grants than an agent accepts', async () => {
    const many = Array.from({ length: 31 }, (_, n) => everybody(`g${n}`));
    harness.mesh.setAccess([everybody('dev'), ...many, everybody('prod', { approval })]);
    const who = await session(harness, 'max');
    await expect(approve(who, 'prod', 40)).rejects.toMatchObject({
      detail: { reason: 'a session can have at most 32 grants' },
    });
  });
});
