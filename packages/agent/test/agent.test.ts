import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { askAgent } from '../src/control.ts';
import { service } from './harness.ts';
import { world } from './world.ts';

function request(
  host: string,
  port: number,
  path: string,
  headers: Record<string, string> = {},
  agent?: import('node:http').Agent,
) {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    get(
      { host, port, path, headers: { host: 'orders.shop:8080', ...headers }, ...(agent ? { agent } : {}) },
      (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode!, body }));
        response.on('error', reject);
      },
    ).on('error', reject);
  });
}

const run = promisify(execFile);

describe('by name', () => {
  test('a request reaches the workload with the identity token and the SVID', async () => {
    const { agent, workload, hostsFile } = await world();
    const address = agent.status().services[0]!.address!;
    const { status, body } = await request(address, 8080, '/orders/1', { 'x-meshpass-token': 'forged' });
    expect(status).toBe(200);
    expect(body).toMatch(/^GET \/orders\/1 HTTP\/1\.1\r\nx-meshpass-token: head\.token\d+\.sig\r\n/);
    expect(body).not.toContain('forged');
    expect(workload.seen[0]).toEqual({
      servername: 'outbound_.8080_._.orders.shop.svc.cluster.local',
      alpn: 'istio-http/1.1',
      peer: 'URI:spiffe://cluster.local/ns/meshpass-payments-dev/sa/octocat-1',
    });
    expect(readFileSync(hostsFile, 'utf8')).toContain(
      `${address} orders.shop.svc.cluster.local orders.shop.svc orders.shop\n`,
    );
    await agent.close();
    expect(readFileSync(hostsFile, 'utf8')).toBe('127.0.0.1 localhost\n');
  });

  test('a refusal of the policy says what is allowed and names the session', async () => {
    const { agent } = await world();
    const address = agent.status().services[0]!.address!;
    const { status, body } = await request(address, 8080, '/admin/users');
    expect(status).toBe(403);
    expect(body).toBe(
      'meshpass: GET /admin/users refused by policy at orders.shop: your grant payments-dev allows GET /orders/*, ' +
        'POST /refunds (session ses-1, give it to your platform team: it names you and your grants in the audit log)\n',
    );
    const json = await request(address, 8080, '/admin/users', { accept: 'application/json' });
    expect(JSON.parse(json.body)).toMatchObject({ error_code: 'agent_policy_refused', session_id: 'ses-1' });
  });

  test('a foreign Host or X-Forwarded-Host is refused and nothing is sent', async () => {
    const { agent, workload } = await world();
    const address = agent.status().services[0]!.address!;
    const before = workload.seen.length;
    const foreign: Record<string, string>[] = [
      { host: 'x-8080.app.github.dev' },
      { 'x-forwarded-host': 'x-8080.app.github.dev' },
    ];
    for (const headers of foreign) {
      const { status, body } = await request(address, 8080, '/orders/1', headers);
      expect(status).toBe(421);
      expect(body).toContain('answers for orders.shop.svc.cluster.local:8080 only');
    }
    expect(workload.seen.length - before).toBeLessThanOrEqual(1); // at most the connection made ready at the start
  });

  test('a workload with another SPIFFE id gets no request', async () => {
    const { agent } = await world({
      adjust: (broker) => {
        broker.services = [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/somebody-else'] })];
      },
    });
    const { status, body } = await request(agent.status().services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(502);
    expect(body).toContain('is not the workload that the mesh names');
  });

  test("the edge's refusal reaches the developer with its code", async () => {
    const { agent, edge } = await world({
      adjust: (broker) => {
        broker.services = [service({ host: 'other.shop.svc.cluster.local', aliases: ['other.shop'] })];
      },
    });
    edge.refuse = {
      status: 403,
      body: { error_code: 'tunnel_limit', error_description: 'Too many connections.' },
    };
    const { status, body } = await request(agent.status().services[0]!.address!, 8080, '/orders/1', {
      host: 'other.shop.svc.cluster.local',
    });
    expect(status).toBe(429);
    expect(body).toBe('meshpass: Too many connections.\n');
  });

  test('a refused raw TCP connection just ends, and the status tells why', async () => {
    const { agent } = await world({
      adjust: (broker) => {
        broker.services = [
          service({ protocol: 'tcp', spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/somebody-else'] }),
        ];
      },
    });
    const socket = connect(8080, agent.status().services[0]!.address!);
    socket.on('error', () => {});
    await once(socket, 'close');
    expect(agent.status().untold).toEqual([
      expect.objectContaining({ service: 'orders.shop:8080', code: 'agent_peer_untrusted' }),
    ]);
  });
});

describe('by proxy', () => {
  async function proxied(...args: string[]) {
    const w = await world();
    const env = await askAgent<Record<string, string>>(w.runtimeDirectory, { command: 'env' });
    const curl = async (...more: string[]) => {
      const { stdout } = await run('curl', ['-s', '-m', '10', '-w', '\n%{http_code}', ...args, ...more]);
      return { status: stdout.slice(-3), body: stdout.slice(0, -4) };
    };
    return { ...w, env, curl };
  }

  test('absolute form, CONNECT and SOCKS5 reach the service, each with the token', async () => {
    const { env, curl } = await proxied();
    for (const args of [
      ['-x', env.http_proxy!],
      ['-p', '-x', env.http_proxy!],
      ['-x', env.all_proxy!],
    ]) {
      const { status, body } = await curl(...args, 'http://orders.shop:8080/orders/7');
      expect(status).toBe('200');
      expect(body).toMatch(/^GET \/orders\/7 HTTP\/1\.1\r\n/);
      expect(body).toMatch(/x-meshpass-token: head\.token\d+\.sig\r\n/);
      expect(body).not.toContain('Proxy-');
    }
  });

  test('without the secret nothing is carried', async () => {
    const { env, curl } = await proxied();
    const bare = env.http_proxy!.replace(/\/\/.*@/, '//');
    const wrong = env.http_proxy!.replace(/:[^:@]*@/, ':wrong@');
    for (const proxy of [bare, wrong]) {
      expect((await curl('-x', proxy, 'http://orders.shop:8080/')).status).toBe('407');
      await expect(curl('-p', '-x', proxy, 'http://orders.shop:8080/')).rejects.toThrow(/./);
      await expect(curl('-x', proxy.replace('http:', 'socks5h:'), 'http://orders.shop:8080/')).rejects.toThrow(/./);
    }
  });

  test('a service of the mesh that is not granted is refused by name, the outside is not', async () => {
    const { env, curl, broker } = await proxied();
    const { status, body } = await curl('-x', env.http_proxy!, 'http://orders.shop:9090/');
    expect(status).toBe('403');
    expect(body).toBe('meshpass: orders.shop:9090 is not granted to you; you may reach orders.shop:8080\n');
    expect((await curl('-x', env.http_proxy!, 'http://web.dev.svc.cluster.local/')).status).toBe('403');
    const outside = await curl('-k', '-x', env.http_proxy!, `${broker.url}/nothing`);
    expect(outside.status).not.toBe('403');
  });
});

describe('the life of an agent', () => {
  test('two agents on one machine have addresses of their own', async () => {
    const [one, two] = [await world(), await world()];
    const [first, second] = [one, two].map((w) => w.agent.status().services[0]!.address!);
    expect(first).toBeDefined();
    expect(second).toBeDefined();
    expect(second).not.toBe(first);
    expect((await request(first!, 8080, '/orders/1')).status).toBe(200);
    expect((await request(second!, 8080, '/orders/1')).status).toBe(200);
  });

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
    await expect.poll(() => w.agent.status().session.id, { timeout: 4000 }).not.toBe('ses-1');
    const { status } = await request(w.agent.status().services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
  });

  test('the broker is away: traffic goes on', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    w.broker.down = true;
    await expect.poll(() => Object.keys(w.agent.status().broker.failures), { timeout: 4000 }).toContain('heartbeat');
    const { status } = await request(w.agent.status().services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
    w.broker.down = false;
    await expect.poll(() => Object.keys(w.agent.status().broker.failures), { timeout: 4000 }).toEqual([]);
  });

  test('a clock that is wrong by an hour is corrected from the Date header', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.skew = 3600;
      },
    });
    const { status } = await request(w.agent.status().services[0]!.address!, 8080, '/orders/1');
    expect(status).toBe(200);
    const [svid] = w.agent.status().credentials.svids;
    expect(svid!.expiresAt - Date.now()).toBeLessThan(610_000);
  });

  test('a broker that has only just started is asked again a moment later', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.justStarted = true;
      },
    });
    expect(w.broker.calls.filter((call) => call === 'POST /token')).toHaveLength(3);
    expect(w.agent.status().session.id).toBeTruthy();
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
    await expect.poll(() => readFileSync(w.hostsFile, 'utf8'), { timeout: 4000 }).toContain('refunds.shop');
    expect(readFileSync(w.hostsFile, 'utf8')).not.toContain('orders.shop');
    expect(w.agent.status().credentials.svids.map((svid) => svid.grant)).toContain('refunds');
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
    expect(w.agent.status().services).not.toEqual([]);
  });

  test('certificates and the token are renewed before they expire, and used from then on', async () => {
    const w = await world({
      adjust: (broker) => {
        broker.svidLifetime = 3;
        broker.tokenLifetime = 3;
      },
    });
    const before = w.agent.status().credentials;
    const address = w.agent.status().services[0]!.address!;
    const first = await request(address, 8080, '/orders/1');
    await expect
      .poll(() => w.agent.status().credentials, { timeout: 4000 })
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
    const address = w.agent.status().services[0]!.address!;
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
    const address = w.agent.status().services[0]!.address!;
    expect((await request(address, 8080, '/orders/1')).status).toBe(200);
    w.broker.services = [service({ spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders-v2'] })];
    w.broker.servicesVersion = '2';
    await expect.poll(async () => (await request(address, 8080, '/orders/1')).status, { timeout: 4000 }).toBe(502);
  });
});

function tokenOf(head: string): string | undefined {
  return /x-meshpass-token: (\S+)/.exec(head)?.[1];
}
