/** The control channel with its real parts: a broker on a durable store, edges, and agents. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { asSession, certificates, renewLease } from '../../packages/broker/test/harness/broker.ts';
import { grant } from '../../packages/broker/test/harness/mesh.ts';
import { type Parts, startParts } from './parts.ts';

let parts: Parts;
beforeAll(async () => {
  parts = await startParts();
});
afterEach(() => parts.endEdges());
afterAll(() => parts.close());

describe('over one connection to an edge', () => {
  test('the lease is renewed again and again, and nothing over HTTPS is needed', async () => {
    // The clock of this test jumps.
    const alice = await parts.agent('alice', [await parts.edge()], { silentMs: 600_000 });
    await expect.poll(() => alice.of('lease').length).toBeGreaterThan(0);
    for (let n = 0; n < 4; n++) {
      const before = alice.of('lease').length;
      parts.harness.clockAhead += 20_000;
      alice.renew();
      await expect.poll(() => alice.of('lease').length).toBeGreaterThan(before);
    }
    expect(await asSession(parts.harness, alice.session, { path: '/services' })).toMatchObject({ status: 200 });
    expect(alice.of('silent')).toEqual([]);
    const { lease } = alice.of('lease').at(-1)!;
    expect(lease).toMatchObject({
      services_version: expect.stringMatching(/^1\/[\w-]{16}$/),
      // The key that signs, and the one that follows it.
      token_keys: [expect.any(String), expect.any(String)],
    });
  });

  test('the end of the session reaches the agent at once, and closes the connection', async () => {
    const edge = await parts.edge();
    const alice = await parts.agent('alice', [edge]);
    await expect.poll(() => alice.of('lease').length).toBe(1);
    expect(edge.stats()).toMatchObject({ control: 1, connections: 1 });
    await asSession(parts.harness, alice.session, { method: 'DELETE', path: '/session' });
    await expect
      .poll(() => alice.of('ended'))
      .toEqual([{ type: 'ended', cause: 'goodbye', reason: expect.any(String) }]);
    await expect.poll(() => edge.stats()).toMatchObject({ control: 0, connections: 0 });
    expect(alice.events.at(-1)!.type).toBe('ended');
  });

  test('the edge sends a configuration once it exists, and after each change, to the sessions of its grants only', async () => {
    const edge = await parts.edge();
    const alice = await parts.agent('alice', [edge]);
    const ops = await parts.agent('ops', [edge]);
    parts.configurations.set(['dev'], 5, 'the first');
    await expect
      .poll(() => alice.of('configuration'))
      .toMatchObject([{ version: 5, content: Buffer.from('the first') }]);
    parts.configurations.set(['dev'], 6, 'the second');
    parts.configurations.set(['dev', 'ops'], 7, 'of both');
    await expect.poll(() => alice.of('configuration').map((event) => event.version)).toEqual([5, 6]);
    await expect.poll(() => ops.of('configuration').map((event) => String(event.content))).toEqual(['of both']);
    const before = alice.of('lease').length;
    alice.renew();
    await expect.poll(() => alice.of('lease').length).toBeGreaterThan(before);
    expect(alice.of('lease').at(-1)!.lease.configuration_version).toBe(6);
  });

  test('the configuration is that of the grants in the newest lease, even if other grants have a higher version', async () => {
    const alice = await parts.agent('ops', [await parts.edge()]);
    parts.configurations.set(['dev', 'ops'], 100, 'the wider one');
    parts.configurations.set(['dev'], 50, 'the narrower one');
    await expect.poll(() => alice.of('configuration').at(-1)).toMatchObject({ version: 100 });
    parts.harness.mesh.setAccess([grant('dev')]);
    await expect.poll(() => alice.of('configuration').at(-1)).toMatchObject({ version: 50 });
    parts.harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:ops'])]);
  });

  test('a large configuration reaches many agents', async () => {
    const edge = await parts.edge();
    const content = 'x'.repeat(1_000_000);
    parts.configurations.set(['dev'], 200, content);
    const agents = await Promise.all(
      Array.from({ length: 12 }, (_, n) => parts.agent(`dev-${n}`, [edge], { silentMs: 60_000 })),
    );
    for (const agent of agents) await expect.poll(() => agent.of('configuration').length).toBe(1);
    expect(agents.every((agent) => String(agent.of('configuration')[0]!.content) === content)).toBe(true);
  });

  test('a change of the granted services reaches the agent at once', async () => {
    const alice = await parts.agent('alice', [await parts.edge()], { heartbeatMs: 600_000, silentMs: 1_200_000 });
    await expect.poll(() => alice.of('lease').length).toBe(1);
    const to = [{ place: { file: 'access.yaml', line: 1, column: 1 }, service: 'ledger', namespace: 'shop', port: 80 }];
    parts.harness.mesh.setAccess([grant('dev', [], { to })]);
    await expect.poll(() => alice.of('lease').length).toBe(2);
    expect(alice.of('lease')[1]!.lease.services_version).not.toBe(alice.of('lease')[0]!.lease.services_version);
  });
});

test('a session has one control connection at an edge: a second one ends the first', async () => {
  const edge = await parts.edge();
  const alice = await parts.agent('alice', [edge]);
  await expect.poll(() => alice.of('lease').length).toBe(1);
  const before = edge.stats().accepted;
  const twin = alice.twin();
  await expect.poll(() => edge.stats().accepted).toBeGreaterThan(before);
  await expect.poll(() => edge.stats().control).toBe(1);
  await twin.close();
});

test('after an SVID that TLS refuses, the agent still runs and renews over HTTPS', async () => {
  const alice = await parts.agent('alice', [await parts.edge()], {
    secureContext: () => {
      throw new Error('wrong tag');
    },
    silentMs: 500,
  });
  await expect.poll(() => alice.of('silent').length).toBe(1);
  expect(alice.of('lease')).toEqual([]);
});

test('when an edge ends, the agent connects to the next one and keeps its lease', async () => {
  const [first, second] = [await parts.edge(), await parts.edge()];
  const alice = await parts.agent('alice', [first, second]);
  await expect.poll(() => alice.of('lease').length).toBe(1);
  await first.close();
  await expect.poll(() => second.stats().control).toBe(1);
  await expect.poll(() => alice.of('lease').length).toBeGreaterThan(1);
});

test('a drill renews the lease like the agent, and sees that it is refused after the end', async () => {
  const edge = await parts.edge();
  // The drill has the time of this machine.
  parts.harness.clockAhead = 0;
  const alice = await parts.agent('alice', [edge], { hasSvid: false });
  expect(await alice.renewInDrill()).toEqual({ verdict: 'taken', how: 'renewed' });
  await asSession(parts.harness, alice.session, { path: '/session', method: 'DELETE' });
  await expect.poll(() => alice.renewInDrill()).toEqual({ verdict: 'refused', how: 'tunnel_session_unknown' });
  await edge.close();
  expect(await alice.renewInDrill()).toMatchObject({
    verdict: 'unclear',
    how: expect.stringContaining('ECONNREFUSED'),
  });
});

test('an agent with expired SVIDs renews over HTTPS, which needs only its key, and returns to the channel with new ones', async () => {
  const edge = await parts.edge();
  const alice = await parts.agent('alice', [edge], { hasSvid: false });
  await expect.poll(() => alice.of('silent').length).toBe(1);
  expect(edge.stats().accepted).toBe(0);
  expect(await renewLease(parts.harness, alice.session)).toMatchObject({ kind: 'lease' });
  expect(await certificates(parts.harness, alice.session, ['dev'])).toMatchObject({ status: 200 });
  alice.hasSvid = true;
  await expect.poll(() => alice.of('lease').length).toBeGreaterThan(0);
});
