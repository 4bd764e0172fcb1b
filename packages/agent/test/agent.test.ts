/** Life of an agent: start, renewal, loss of its broker, end. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { sendControlRequest } from '../src/control/control.ts';
import { service } from './harness.ts';
import { addressOf, request, world } from './world.ts';

describe('an agent', () => {
  test('refuses to start twice, and ends its session on down', async () => {
    const w = await world();
    await expect(w.start()).rejects.toMatchObject({ code: 'agent_already_running' });
    expect(w.broker.sessions.size).toBe(1);
    await sendControlRequest(w.runtimeDirectory, { command: 'down' });
    await w.agent.closed;
    expect(w.broker.sessions.size).toBe(0);
  });

  test('obtains a token for another audience', async () => {
    const w = await world();
    const answer = await sendControlRequest(w.runtimeDirectory, { command: 'token', audience: 'sts.amazonaws.com' });
    expect(answer).toMatchObject({ token: expect.stringMatching(/^aud\.sts-amazonaws-com\./), expiresIn: 300 });
  });

  test('enrols again on its own after its session has ended', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.sessions.clear();
    await expect.poll(async () => (await w.agent.status()).session.id).not.toBe('ses-1');
    const { status } = await request(await addressOf(w), 8080, '/orders/1');
    expect(status).toBe(200);
  });

  test('continues to carry traffic while the broker is unavailable', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.down = true;
    await expect.poll(async () => Object.keys((await w.agent.status()).broker.failures)).toContain('heartbeat');
    const { status } = await request(await addressOf(w), 8080, '/orders/1');
    expect(status).toBe(200);
    w.broker.down = false;
    await expect.poll(async () => Object.keys((await w.agent.status()).broker.failures)).toEqual([]);
  });

  test('corrects a clock that is wrong by an hour from the Date header', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.skew = 3600;
      },
    });
    const { status } = await request(await addressOf(w), 8080, '/orders/1');
    expect(status).toBe(200);
    const [svid] = (await w.agent.status()).credentials.svids;
    expect(svid!.expiresAt - Date.now()).toBeLessThan(610_000);
  });

  test('retries a request after a moment if the broker has just started', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.justStarted = true;
      },
    });
    expect(w.broker.calls.filter((call) => call === 'POST /token')).toHaveLength(3);
    expect((await w.agent.status()).session.id).toBeTruthy();
  });

  test('adds a service that is granted later, and removes a revoked one', async () => {
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
    await expect.poll(() => readFileSync(w.hostsFile, 'utf8')).toContain('refunds.shop');
    expect(readFileSync(w.hostsFile, 'utf8')).not.toContain('orders.shop');
    expect((await w.agent.status()).credentials.svids.map((svid) => svid.grant)).toContain('refunds');
  });

  test('keeps its services while the broker does not know them yet', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    // The first lease has the agent read them once.
    await expect.poll(() => w.broker.calls).toContain('GET /services');
    const names = () => readFileSync(w.hostsFile, 'utf8');
    await expect.poll(names).toContain('orders.shop');
    const before = names();
    w.broker.services = [];
    w.broker.servicesVersion = undefined;
    const beats = w.broker.heartbeats;
    await expect.poll(() => w.broker.heartbeats).toBeGreaterThan(beats + 1);
    expect(names()).toBe(before);
    expect((await w.agent.status()).services).not.toEqual([]);
  });

  test('renews certificates and the token before they expire, and uses the new ones', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.svidLifetime = 3;
        broker.tokenLifetime = 3;
      },
    });
    const before = (await w.agent.status()).credentials;
    const address = await addressOf(w);
    const first = await request(address, 8080, '/orders/1');
    await expect
      .poll(async () => (await w.agent.status()).credentials)
      .toSatisfy(
        (now: typeof before) =>
          now.svids[0]!.expiresAt > before.svids[0]!.expiresAt &&
          now.identityTokenExpiresAt > before.identityTokenExpiresAt,
      );
    const second = await request(address, 8080, '/orders/1');
    expect(second.status).toBe(200);
    expect(tokenOf(second.body)).not.toBe(tokenOf(first.body));
  });

  test('explains to the developer that all credentials have expired, and recovers once the broker is back', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.tokenLifetime = 1;
      },
    });
    const address = await addressOf(w);
    w.broker.down = true;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status).toBe(503);
    const { body } = await request(address, 8080, '/orders/1', { accept: 'application/json' });
    expect(JSON.parse(body)).toMatchObject({ error_code: 'agent_credentials_expired' });
    w.broker.down = false;
    w.broker.tokenLifetime = 300;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status).toBe(200);
  });

  test('does not reuse an old handshake for a service whose workload has changed', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    const address = await addressOf(w);
    expect((await request(address, 8080, '/orders/1')).status).toBe(200);
    w.broker.services = [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders-v2'] })];
    w.broker.servicesVersion = '2';
    w.broker.configurationVersion += 1;
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status).toBe(503);
  });
});

function tokenOf(head: string): string | undefined {
  return /x-meshpass-token: (\S+)/.exec(head)?.[1];
}
