/** The two ways of a program to the agent: a service's own name, and a proxy. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { askAgent } from '../src/control.ts';
import { service } from './harness.ts';
import { request, world } from './world.ts';

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

function _tokenOf(head: string): string | undefined {
  return /x-meshpass-token: (\S+)/.exec(head)?.[1];
}
