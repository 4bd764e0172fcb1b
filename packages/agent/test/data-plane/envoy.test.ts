/** The Envoy of an agent: its life is tied to the agent's, and nothing of it is for others. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { down, isAlive } from '../../src/process/down.ts';
import { launch } from '../../src/process/launch.ts';
import { runAgent } from '../../src/run-agent.ts';
import { afterThisTest, request, surroundingsOfAgent, world } from '../world.ts';

const env = { ...process.env, CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };

test('it is started again when it was killed, and traffic comes back', async () => {
  const { agent } = await world();
  const { envoy, services } = await agent.status();
  process.kill(envoy.pid!, 'SIGKILL');
  const answer = () => request(services[0]!.address!, 8080, '/orders/1').catch(() => undefined);
  await expect.poll(async () => (await agent.status()).envoy.restarts).toBe(1);
  await expect.poll(async () => (await answer())?.status).toBe(200);
  expect((await agent.status()).envoy).toMatchObject({ lastEnd: 'signal 9' });
});

test('it ends with the agent, however the agent ends', async () => {
  const { config } = await surroundingsOfAgent();
  afterThisTest(() => down(config));
  const crashed = await launch(config, { env });
  process.kill(crashed.pid, 'SIGKILL');
  await expect.poll(() => isAlive(crashed.envoy.pid!)).toBe(false);
  const ended = await launch(config, { env });
  expect(await down(config)).toBe(true);
  expect(isAlive(ended.envoy.pid!)).toBe(false);
});

test('its files hold no secret, and nobody else may open them', async () => {
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

test('it knows nothing of the environment of the agent, and leaves no core file with its keys', async () => {
  const { envoy } = await (await world()).agent.status();
  const names = readFileSync(`/proc/${envoy.pid}/environ`, 'utf8')
    .split('\0')
    .flatMap((line) => line.split('=')[0] || []);
  expect(names.filter((name) => !['PATH', 'PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([]);
  expect(readFileSync(`/proc/${envoy.pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
});

test('it listens on the loopback only, and its administration on no port', async () => {
  const { agent, runtimeDirectory } = await world();
  const { envoy } = await agent.status();
  expect(envoy.listeners.length).toBe(2);
  for (const { address } of envoy.listeners) expect(address).toMatch(/^127\./);
  // The sockets of its process, by their inodes (proc(5)).
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

test('a request under way when the agent is ended gets its answer', async () => {
  let answer: (() => void) | undefined;
  const { agent } = await world({
    onConnection: (socket) =>
      socket.once('data', () => {
        answer = () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate');
      }),
  });
  const late = request((await agent.status()).services[0]!.address!, 8080, '/orders/1');
  await expect.poll(() => answer !== undefined).toBe(true);
  const closed = agent.close();
  setTimeout(() => answer!(), 300);
  expect(await late).toMatchObject({ status: 200, body: 'late' });
  await closed;
});

test('without an Envoy the agent says what to install', async () => {
  const { config, broker } = await surroundingsOfAgent();
  const surroundings = { env, readText: () => undefined, sharedDirectory: '/nowhere' };
  await expect(runAgent({ ...config, envoy: '/nowhere/envoy' }, { surroundings })).rejects.toMatchObject({
    code: 'agent_envoy_missing',
  });
  await expect.poll(() => broker.sessions.size).toBe(0);
});

test('a renewed token is given to Envoy without reading the configuration again', async () => {
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
