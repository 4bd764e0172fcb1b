/** The agent's Envoy: its lifetime depends on the agent's, and it is closed to other users. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { down, isProcessAlive } from '../../src/process/down.ts';
import { launchAgent } from '../../src/process/launch.ts';
import { runAgent } from '../../src/run-agent.ts';
import { service } from '../harness.ts';
import { addressOf, afterThisTest, request, surroundingsOfAgent, world } from '../world.ts';

const env = { ...process.env, CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };

test('restarts Envoy after it was killed, and traffic resumes', async () => {
  const { agent } = await world();
  const address = await addressOf({ agent });
  process.kill((await agent.status()).envoy.pid!, 'SIGKILL');
  const answer = () => request(address, 8080, '/orders/1').catch(() => undefined);
  await expect.poll(async () => (await agent.status()).envoy.restarts).toBe(1);
  await expect.poll(async () => (await answer())?.status).toBe(200);
  expect((await agent.status()).envoy).toMatchObject({ lastEnd: 'signal 9' });
});

test('removes the names at once after Envoy was killed, and keeps them away while another process has the address', async () => {
  const { agent, hostsFile } = await world();
  const address = await addressOf({ agent });
  const { envoy } = await agent.status();
  const isNamed = () => readFileSync(hostsFile, 'utf8').includes('orders.shop');
  expect(isNamed()).toBe(true);
  const killedAt = performance.now();
  process.kill(envoy.pid!, 'SIGKILL');
  const other = await holding(address, 8080);
  afterThisTest(() => other.close());
  while (isNamed()) await nextTurn();
  expect(performance.now() - killedAt).toBeLessThan(1_000);
  await expect
    .poll(async () => (await agent.status()).configuration.rejected)
    .toEqual([expect.stringContaining('cannot bind')]);
  await sleep(4_000);
  expect(isNamed()).toBe(false);
  expect((await agent.status()).services[0]!.address).toBeUndefined();
  other.close();
  await expect.poll(isNamed, { timeout: 15_000 }).toBe(true);
  expect((await request(address, 8080, '/orders/1')).status).toBe(200);
});

test('retries a listener whose address is in use when the agent starts until Envoy accepts it', async () => {
  const { start, hostsFile } = await surroundingsOfAgent();
  const address = service().address!;
  const other = await holding(address, 8080);
  afterThisTest(() => other.close());
  const agent = await start();
  await expect
    .poll(async () => (await agent.status()).notes)
    .toContainEqual(expect.stringContaining('not currently reachable by name'));
  expect(readFileSync(hostsFile, 'utf8')).not.toContain('orders.shop');
  other.close();
  await expect.poll(() => readFileSync(hostsFile, 'utf8'), { timeout: 15_000 }).toContain(`${address} orders.shop`);
  expect((await request(address, 8080, '/orders/1')).status).toBe(200);
  expect((await agent.status()).configuration.rejected).toEqual([]);
});

/** Another process that binds an address as soon as it is free. */
async function holding(address: string, port: number): Promise<Server> {
  for (;;) {
    const server = createServer((socket) => socket.destroy());
    const taken = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, address, () => resolve(true));
    });
    if (taken) return server;
    await nextTurn();
  }
}

test('ends Envoy with the agent, however the agent ends', async () => {
  const { config } = await surroundingsOfAgent();
  afterThisTest(() => down(config));
  const crashed = await launchAgent(config, { env });
  process.kill(crashed.pid, 'SIGKILL');
  await expect.poll(() => isProcessAlive(crashed.envoy.pid!)).toBe(false);
  const ended = await launchAgent(config, { env });
  expect(await down(config)).toBe(true);
  expect(isProcessAlive(ended.envoy.pid!)).toBe(false);
});

test('writes files without secrets that no other user can open', async () => {
  const { runtimeDirectory, agent } = await world();
  const { accessToken } = { accessToken: 'mps_1' };
  for (const name of readdirSync(runtimeDirectory)) {
    const path = join(runtimeDirectory, name);
    const found = statSync(path);
    expect(found.mode & 0o777, name).toBe(0o600);
    if (!found.isFile()) continue;
    const text = readFileSync(path, 'utf8');
    expect(text).not.toContain('PRIVATE KEY');
    expect(text).not.toContain(accessToken);
    expect(text).not.toContain('head.token');
  }
  expect(readdirSync(runtimeDirectory)).toContain('envoy.json');
  const { envoy } = await agent.status();
  const command = readFileSync(`/proc/${envoy.pid}/cmdline`, 'utf8');
  expect(command).not.toMatch(/PRIVATE KEY|head\.token/);
});

test("starts Envoy without the agent's environment, and without core files that would contain keys", async () => {
  const { envoy } = await (await world()).agent.status();
  const names = readFileSync(`/proc/${envoy.pid}/environ`, 'utf8')
    .split('\0')
    .flatMap((line) => line.split('=')[0] || []);
  expect(names.filter((name) => !['PATH', 'PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([]);
  expect(readFileSync(`/proc/${envoy.pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
});

test('makes Envoy listen on the loopback only, and its administration on no port', async () => {
  const { agent, runtimeDirectory } = await world();
  const { envoy } = await agent.status();
  expect(envoy.listeners.length).toBe(2);
  for (const { address } of envoy.listeners) expect(address).toMatch(/^127\./);
  // The sockets of the process by inode (proc(5)).
  const inodes = readdirSync(`/proc/${envoy.pid}/fd`).map((fd) => {
    try {
      return statSync(`/proc/${envoy.pid}/fd/${fd}`).ino;
    } catch {
      return 0;
    }
  });
  const listening = ['tcp', 'tcp6']
    .flatMap((file) => readFileSync(`/proc/${envoy.pid}/net/${file}`, 'utf8').split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && inodes.includes(Number(fields[9])));
  expect(new Set(listening.map((fields) => fields[1])).size).toBe(2);
  const admin = connect(join(runtimeDirectory, 'admin.sock'));
  await new Promise((resolve) => admin.once('connect', resolve));
  admin.destroy();
});

test('completes a request that is in progress when the agent is stopped', async () => {
  let answer: (() => void) | undefined;
  const { agent } = await world({
    onConnection: (socket) =>
      socket.once('data', () => {
        answer = () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate');
      }),
  });
  const late = request(await addressOf({ agent }), 8080, '/orders/1');
  await expect.poll(() => answer !== undefined).toBe(true);
  const closed = agent.close();
  setTimeout(() => answer!(), 300);
  expect(await late).toMatchObject({ status: 200, body: 'late' });
  await closed;
});

test('tells the user what to install if there is no Envoy', async () => {
  const { config, broker } = await surroundingsOfAgent();
  const surroundings = { env, readText: () => undefined, sharedDirectory: '/nowhere' };
  await expect(runAgent({ ...config, envoy: '/nowhere/envoy' }, { surroundings })).rejects.toMatchObject({
    code: 'agent_envoy_missing',
  });
  await expect.poll(() => broker.sessions.size).toBe(0);
});

test('sends Envoy a renewed token without parsing the configuration again', async () => {
  const events: string[] = [];
  const { broker } = await world({
    adjust: (one) => {
      one.tokenLifetime = 2;
    },
    log: (event) => events.push(event),
  });
  const tokens = () => broker.calls.filter((call) => call === 'POST /token').length;
  const before = tokens();
  await expect.poll(tokens).toBeGreaterThan(before + 1);
  expect(events.filter((event) => event === 'configuration_accepted')).toHaveLength(1);
});
