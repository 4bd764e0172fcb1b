/** Requests through the proxy: HTTP in absolute form and CONNECT, with the secret of the run. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { sendControlRequest } from '../../src/control/control.ts';
import type { ExplainResponse } from '../../src/explain/answer.ts';
import { runAgent } from '../../src/run-agent.ts';
import { afterThisTest, surroundingsOfAgent, type WorldOptions, world } from '../world.ts';

const run = promisify(execFile);
const codespace = { CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };

async function proxied(options: WorldOptions = {}) {
  const w = await world(options);
  const env = await sendControlRequest<Record<string, string>>(w.runtimeDirectory, { command: 'env' });
  const curl = async (...args: string[]) => {
    const { stdout } = await run('curl', ['-s', '-m', '10', '-w', '\n%{http_code}', ...args]);
    return { status: stdout.slice(-3), body: stdout.slice(0, -4) };
  };
  return { ...w, proxy: env.http_proxy!, curl };
}

test.each([
  ['in absolute form', []],
  ['by CONNECT', ['-p']],
])('reaches a service %s, with the token and without the secret', async (_, how) => {
  const { proxy, curl } = await proxied();
  const { status, body } = await curl(...how, '-x', proxy, 'http://orders.shop:8080/orders/7');
  expect(status).toBe('200');
  expect(body).toMatch(/^GET \/orders\/7 HTTP\/1\.1\r\n/);
  expect(body).toMatch(/x-meshpass-token: head\.token\d+\.sig\r\n/);
  expect(body).not.toMatch(/proxy-/i);
});

test.each([
  ['in absolute form', []],
  ['by CONNECT', ['-p']],
])('reaches a service on a port closed to this user %s, and explains the limitation in the status', async (_, how) => {
  const { proxy, curl, agent, hostsFile } = await proxied({ mayListenOn: (port) => port !== 8080 });
  const { status, body } = await curl(...how, '-x', proxy, 'http://orders.shop:8080/orders/7');
  expect(status).toBe('200');
  expect(body).toMatch(/x-meshpass-token: head\.token\d+\.sig\r\n/);
  const { notes, configuration } = await agent.status();
  expect(configuration.rejected).toEqual([]);
  expect(notes).toEqual([
    'orders.shop.svc.cluster.local:8080 is only reachable through the proxy (eval "$(meshpass env)"): this user may not listen on ' +
      'port 8080. To allow it: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=8080, then run meshpass down and meshpass up',
  ]);
  expect(readFileSync(hostsFile, 'utf8')).not.toContain('orders.shop');
});

test('explains and reports refusals by a service on a port closed to this user like all others', async () => {
  const { proxy, curl, broker, runtimeDirectory } = await proxied({
    mayListenOn: (port) => port !== 8080,
    adjust: (played) => {
      played.heartbeatSeconds = 1;
    },
  });
  const call = { method: 'GET', host: 'orders.shop', port: 8080, path: '/admin', headers: {} };
  const { byProxyOnly } = await sendControlRequest<ExplainResponse>(runtimeDirectory, { command: 'explain', call });
  expect(byProxyOnly).toEqual([expect.stringMatching(/^127\..*:8080$/)]);
  expect((await curl('-x', proxy, 'http://orders.shop:8080/admin')).status).toBe('403');
  await expect.poll(() => broker.reports, { timeout: 30_000 }).toHaveLength(1);
  expect(broker.reports[0]).toMatchObject({
    refusals: [{ hop: 'workload', host: 'orders.shop.svc.cluster.local', port: 8080, code: 'agent_policy_refused' }],
  });
});

test('carries nothing without the secret', async () => {
  const heard: unknown[] = [];
  const { proxy, curl } = await proxied({ onConnection: (socket) => socket.on('data', (data) => heard.push(data)) });
  for (const wrong of [proxy.replace(/\/\/.*@/, '//'), proxy.replace(/:[^:@]*@/, ':wrong@')]) {
    const { status, body } = await curl('-x', wrong, 'http://orders.shop:8080/');
    expect(status).toBe('407');
    expect(body).toContain('eval "$(meshpass env)"');
    await expect(curl('-p', '-x', wrong, 'http://orders.shop:8080/')).rejects.toThrow(/./);
  }
  expect(heard).toEqual([]);
});

test('refuses a service that is not granted by name, but not hosts outside the mesh', async () => {
  const { proxy, curl, broker } = await proxied();
  const { status, body } = await curl('-x', proxy, 'http://orders.shop:9090/');
  expect(status).toBe('403');
  expect(body).toBe('meshpass: orders.shop:9090 is not granted to you; you can reach orders.shop:8080\n');
  expect((await curl('-x', proxy, 'http://web.dev.svc.cluster.local/')).status).toBe('403');
  await expect(curl('-p', '-x', proxy, 'http://web.dev.svc.cluster.local/')).rejects.toThrow(/./);
  expect((await curl('-k', '-x', proxy, `${broker.url}/nothing`)).status).toBe('401');
});

test('reports that an outside host is unreachable', async () => {
  const { proxy, curl } = await proxied();
  const { status, body } = await curl('-x', proxy, 'http://127.0.0.1:1/');
  expect(status).toBe('502');
  expect(body).toContain('Cannot reach 127.0.0.1:1');
});

test("never hands out a port that belongs to another process as the proxy's", async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  afterThisTest(() => other.close());
  const { port } = other.address() as AddressInfo;
  const { config } = await surroundingsOfAgent();
  const surroundings = { env: codespace, readText: () => undefined, sharedDirectory: '/nowhere' };
  const agent = await runAgent({ ...config, proxyPort: port }, { surroundings });
  afterThisTest(() => agent.close());
  await expect(sendControlRequest(config.runtimeDirectory, { command: 'env' })).rejects.toMatchObject({
    code: 'config_invalid',
  });
  expect((await agent.status()).notes).toEqual([`The proxy is not listening on 127.0.0.1:${port}.`]);
});

test('reports a missing bridge address with the remedy, and continues otherwise', async () => {
  const { config } = await surroundingsOfAgent();
  const surroundings = { env: codespace, readText: () => undefined, sharedDirectory: '/nowhere' };
  const agent = await runAgent({ ...config, bridgeAddress: '10.254.253.252' }, { surroundings });
  afterThisTest(() => agent.close());
  expect((await agent.status()).notes).toEqual([expect.stringMatching(/on 10\.254\.253\.252:\d+, .*start Docker/)]);
  expect(await sendControlRequest(config.runtimeDirectory, { command: 'env' })).toHaveProperty('http_proxy');
});
