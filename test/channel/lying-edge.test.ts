/** A compromised edge can deny service, but cannot do more: it lies, withholds and replays. */
import type { ControlBroker } from '@meshpass/edge';
import type { LeaseAnswer, LeaseRenewal } from '@meshpass/identity/channel';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { asSession, renewLease, session } from '../../packages/broker/test/harness/broker.ts';
import { type Parts, SILENT_MS, startParts } from './parts.ts';

let parts: Parts;
beforeAll(async () => {
  parts = await startParts();
});
afterEach(() => parts.endEdges());
afterAll(() => parts.close());

/** An edge whose answers to leases are the test's. */
function answering(make: (honest: ControlBroker, leases: readonly LeaseRenewal[]) => Promise<readonly LeaseAnswer[]>) {
  return parts.edge((honest) => ({ ...honest, renew: (leases) => make(honest, leases) }));
}

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('an edge that withholds', () => {
  test('requests of agents lets the lease lapse, and the agent notices before that', async () => {
    const edge = await answering(async () => []);
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('silent').length).toBe(1);
    expect(alice.of('lease')).toEqual([]);
    expect(await asSession(parts.harness, alice.session, { path: '/services' })).toMatchObject({ status: 200 });
  });

  test('answers of the broker is left for another edge', async () => {
    const lying = await answering(async (honest, leases) => {
      await honest.renew(leases);
      return [];
    });
    const honest = await parts.edge();
    const alice = await parts.agent('alice', [lying, honest]);
    await expect.poll(() => alice.of('silent').length).toBe(1);
    await expect.poll(() => alice.of('lease').length).toBeGreaterThan(0);
    expect(honest.stats().control).toBe(1);
  });

  test('an answer for a while makes no agent believe that its lease is younger than it is', async () => {
    let asked = 0;
    const edge = await answering(async (honest, leases) => {
      if (asked++ > 0) return [];
      const answers = await honest.renew(leases);
      parts.harness.clockAhead += 20_000;
      return answers;
    });
    const alice = await parts.agent('alice', [edge], { silentMs: 40_000 });
    await expect.poll(() => alice.of('lease').length).toBe(1);
    expect(alice.of('silent')).toEqual([]);
    // 41 of the 45 seconds of the lease have passed, 21 of them since the answer.
    parts.harness.clockAhead += 21_000;
    await expect.poll(() => alice.of('silent').length).toBe(1);
    expect(await asSession(parts.harness, alice.session, { path: '/services' })).toMatchObject({ status: 200 });
  });

  test('a configuration is found out by the next lease', async () => {
    const edge = await parts.edge((honest) => ({ ...honest, configuration: () => new Promise(() => {}) }));
    const alice = await parts.agent('alice', [edge]);
    parts.configurations.set(['dev'], 5, 'x');
    await expect.poll(() => alice.of('configuration_missing').length).toBeGreaterThan(0);
    expect(alice.of('configuration')).toEqual([]);
  });
});

describe('an edge that replays', () => {
  test('old answers makes no agent believe that its lease is renewed', async () => {
    const kept: LeaseAnswer[] = [];
    const edge = await answering(async (honest, leases) => {
      if (kept.length === 0) kept.push(...(await honest.renew(leases)));
      return kept;
    });
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('lease').length).toBe(1);
    await expect.poll(() => alice.of('silent').length).toBe(1);
    expect(alice.of('lease')).toHaveLength(1);
  });

  test('old leases keeps no session alive after its agent has ended', async () => {
    const kept: LeaseRenewal[] = [];
    const edge = await answering(async (honest, leases) => {
      kept.push(...leases);
      return honest.renew(leases);
    });
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('lease').length).toBeGreaterThan(0);
    await alice.close();
    for (let n = 0; n < 5; n++) {
      parts.harness.clockAhead += 10_000;
      const answers = await parts.harness.broker.control.renew(kept, 'edge');
      expect(answers.every((answer) => answer.error_code !== undefined || n === 4)).toBe(true);
    }
    await expect.poll(async () => (await renewLease(parts.harness, alice.session)).kind).toBe('ended');
  });

  test('an old configuration finds no agent that accepts it', async () => {
    const edge = await parts.edge();
    parts.configurations.set(['dev'], 9, 'new');
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('configuration').length).toBe(1);
    // The broker itself repeats an old configuration, which looks to the agent like a replay by the edge.
    parts.configurations.set(['dev'], 3, 'old');
    await after(1_000);
    expect(alice.of('configuration').map((event) => event.version)).toEqual([9]);
  });
});

describe('an edge that lies', () => {
  test('with another configuration than the broker announced is not believed', async () => {
    const edge = await parts.edge((honest) => ({
      ...honest,
      configuration: async (announced) => {
        const content = await honest.configuration(announced);
        return Buffer.from(content.map((byte) => byte ^ 1));
      },
    }));
    const alice = await parts.agent('alice', [edge]);
    parts.configurations.set(['dev'], 11, 'the truth');
    await expect.poll(() => alice.of('refused').length).toBeGreaterThan(0);
    expect(alice.of('configuration')).toEqual([]);
  });

  test.each([
    ['the answer to another session', (statement: string, other: string) => other ?? statement],
    ['a statement that it changed', (statement: string) => statement.replace(/^([^.]*\.)./, '$1A')],
    ['a signature that it changed', (statement: string) => `${statement.slice(0, -4)}AAAA`],
    ['no statement at all', () => 'x'],
  ])('with %s renews no lease in the eyes of the agent', async (_what, lie) => {
    let other = '';
    const edge = await answering(async (honest, leases) => {
      const answers = await honest.renew(leases);
      const bobs = answers.find((answer) => answer.session_id === bob.session.session.id);
      other ||= bobs?.statement ?? '';
      return answers.map((answer) =>
        answer === bobs || answer.statement === undefined
          ? answer
          : { ...answer, statement: lie(answer.statement, other) },
      );
    });
    const bob = await parts.agent('bob', [edge]);
    await expect.poll(() => bob.of('lease').length).toBeGreaterThan(0);
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('silent').length, { timeout: SILENT_MS * 4 }).toBe(1);
    expect(alice.of('lease')).toEqual([]);
    expect(alice.of('ended')).toEqual([]);
  });

  test('about the end of a session is not believed', async () => {
    const edge = await answering(async (_honest, leases) =>
      leases.map(({ session_id }) => ({ session_id, error_code: 'session_closed' })),
    );
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('refused').length).toBeGreaterThan(0);
    expect(alice.of('ended')).toEqual([]);
    expect(await asSession(parts.harness, alice.session, { path: '/services' })).toMatchObject({ status: 200 });
  });

  test('about who spoke renews no lease', async () => {
    const edge = await answering(async (honest, leases) =>
      honest.renew(leases.map(({ proof }) => ({ session_id: victim.session.id, proof }))),
    );
    const victim = await session(parts.harness, 'victim');
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => edge.stats().control).toBe(1);
    await after(1_000);
    parts.harness.clockAhead += 46_000;
    await expect.poll(async () => (await renewLease(parts.harness, victim)).kind).toBe('ended');
    expect(alice.of('lease')).toEqual([]);
  });
});
