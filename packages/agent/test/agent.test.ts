/** The life of an agent: start, renewal, loss of its broker, end. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { askAgent } from '../src/control/control.ts';
import { service } from './harness.ts';
import { request, world } from './world.ts';

describe('the life of an agent', () => {
  test('a second agent is refused, down says goodbye to the broker', async () => {
    const w = await world();
    await expect(w.start()).rejects.toMatchObject({ code: 'agent_already_running' });
    expect(w.broker.sessions.size).toBe(1);
    await askAgent(w.runtimeDirectory, { command: 'down' });
    await w.agent.closed;
    expect(w.broker.sessions.size).toBe(0);
  });

  test('a token for another audience', async () => {
    const w = await world();
    const answer = await askAgent(w.runtimeDirectory, { command: 'token', audience: 'sts.amazonaws.com' });
    expect(answer).toMatchObject({ token: expect.stringMatching(/^aud\.sts-amazonaws-com\./), expiresIn: 300 });
  });

  test('the session is gone: the agent enrols again by itself and goes on', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.sessions.clear();
    await expect.poll(async () => (await w.agent.status()).session.id, { timeout: 4000 }).not.toBe('ses-1');
    const { status } = await request((await w.agent.status()).services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
  });

  test('the broker is away: traffic goes on', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.down = true;
    await expect
      .poll(async () => Object.keys((await w.agent.status()).broker.failures), { timeout: 4000 })
      .toContain('heartbeat');
    const { status } = await request((await w.agent.status()).services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
    w.broker.down = false;
    await expect.poll(async () => Object.keys((await w.agent.status()).broker.failures), { timeout: 4000 }).toEqual([]);
  });

  test('a clock that is wrong by an hour is corrected from the Date header', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.skew = 3600;
      },
    });
    const { status } = await request((await w.agent.status()).services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
    const [svid] = (await w.agent.status()).credentials.svids;
    expect(svid!.expiresAt - Date.now()).toBeLessThan(610_000);
  });

  test('a broker that has only just started is asked again a moment later', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.justStarted = true;
      },
    });
    expect(w.broker.calls.filter((call) => call === 'POST /token')).toHaveLength(3);
    expect((await w.agent.status()).session.id).toBeTruthy();
  });

  test('a service that is granted later appears, one that is taken away disappears', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.services = [
      service({ host: 'refunds.shop.svc.cluster.local', aliases: ['refunds.shop'], grant: 'refunds' }),
    ];
    w.broker.servicesVersion = '2';
    w.broker.configurationVersion += 1;
    await expect.poll(() => readFileSync(w.hostsFile, 'utf8'), { timeout: 4000 }).toContain('refunds.shop');
    expect(readFileSync(w.hostsFile, 'utf8')).not.toContain('orders.shop');
    expect((await w.agent.status()).credentials.svids.map((svid) => svid.grant)).toContain('refunds');
  });

  test('a broker that does not know yet what a session may reach takes nothing away', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    const before = readFileSync(w.hostsFile, 'utf8');
    w.broker.services = [];
    w.broker.servicesVersion = undefined;
    const beats = w.broker.heartbeats;
    await expect.poll(() => w.broker.heartbeats, { timeout: 4000 }).toBeGreaterThan(beats + 1);
    expect(readFileSync(w.hostsFile, 'utf8')).toBe(before);
    expect((await w.agent.status()).services).not.toEqual([]);
  });

  test('certificates and the token are renewed before they expire, and used from then on', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.svidLifetime = 3;
        broker.tokenLifetime = 3;
      },
    });
    const before = (await w.agent.status()).credentials;
    const address = (await w.agent.status()).services[0]!.address!;
    const first = await request(address, 8080, '/orders/1');
    await expect
      .poll(async () => (await w.agent.status()).credentials, { timeout: 4000 })
      .toSatisfy(
        (now: typeof before) =>
          now.svids[0]!.expiresAt > before.svids[0]!.expiresAt &&
          now.identityTokenExpiresAt > before.identityTokenExpiresAt,
      );
    const second = await request(address, 8080, '/orders/1');
    expect(second.status).toBe(200);
    expect(tokenOf(second.body)).not.toBe(tokenOf(first.body));
  });

  test('the broker is away until everything has expired: the developer reads why, and it mends itself', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.tokenLifetime = 1;
      },
    });
    const address = (await w.agent.status()).services[0]!.address!;
    w.broker.down = true;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status, { timeout: 4000 }).toBe(503);
    const { body } = await request(address, 8080, '/orders/1', { accept: 'application/json' });
    expect(JSON.parse(body)).toMatchObject({ error_code: 'agent_credentials_expired' });
    w.broker.down = false;
    w.broker.tokenLifetime = 300;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status, { timeout: 4000 }).toBe(200);
  });

  test('a service that must be another workload from now on is not reached under an old handshake', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    const address = (await w.agent.status()).services[0]!.address!;
    expect((await request(address, 8080, '/orders/1')).status).toBe(200);
    w.broker.services = [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders-v2'] })];
    w.broker.servicesVersion = '2';
    w.broker.configurationVersion += 1;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status, { timeout: 4000 }).toBe(503);
  });
});

function tokenOf(head: string): string | undefined {
  return /x-meshpass-token: (\S+)/.exec(head)?.[1];
}
