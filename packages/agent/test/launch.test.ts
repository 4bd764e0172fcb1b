import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { sendControlRequest } from '../src/control/control.ts';
import type { AgentStatus } from '../src/control/status.ts';
import { down, isProcessAlive } from '../src/process/down.ts';
import { launchAgent } from '../src/process/launch.ts';
import { afterThisTest, surroundingsOfAgent } from './world.ts';

const CODESPACE = { CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };
const env = { ...process.env, ...CODESPACE };

test('starts a process on up that outlives its parent, and ends it on down without a trace', async () => {
  const { config, broker, hostsFile } = await surroundingsOfAgent();
  afterThisTest(() => down(config));
  const status = await launchAgent(config, { env });
  expect(status.pid).not.toBe(process.pid);
  expect(readFileSync(hostsFile, 'utf8')).toContain('orders.shop');
  expect(await sendControlRequest<AgentStatus>(config.runtimeDirectory, { command: 'status' })).toMatchObject({
    pid: status.pid,
    session: { id: 'ses-1', login: 'octocat', workspace: 'fluffy-8412' },
  });
  expect(statSync(join(config.runtimeDirectory, 'agent.sock')).mode & 0o777).toBe(0o600);
  expect(statSync(config.runtimeDirectory).mode & 0o777).toBe(0o700);
  await expect(launchAgent(config, { env })).rejects.toMatchObject({ code: 'agent_already_running' });

  expect(await down(config)).toBe(true);
  expect(isProcessAlive(status.pid)).toBe(false);
  expect(broker.sessions.size).toBe(0);
  expect(readFileSync(hostsFile, 'utf8')).toBe('127.0.0.1 localhost\n');
  await expect(sendControlRequest(config.runtimeDirectory, { command: 'status' })).rejects.toMatchObject({
    code: 'agent_not_running',
  });
  const log = readFileSync(join(config.runtimeDirectory, 'agent.log'), 'utf8');
  expect(log).toContain('"enrolled"');
  expect(log).not.toContain('mps_');
  expect(log).not.toContain('head.token');
});

test('starts after a crash, and cleans the hosts file on down', async () => {
  const { config, hostsFile } = await surroundingsOfAgent();
  afterThisTest(() => down(config));
  const first = await launchAgent(config, { env });
  process.kill(first.pid, 'SIGKILL');
  await expect.poll(() => isProcessAlive(first.pid)).toBe(false);
  expect(readFileSync(hostsFile, 'utf8')).toContain('orders.shop');
  const second = await launchAgent(config, { env });
  expect(readFileSync(hostsFile, 'utf8').match(/meshpass begin/g)).toHaveLength(1);
  process.kill(second.pid, 'SIGKILL');
  await expect.poll(() => isProcessAlive(second.pid)).toBe(false);
  expect(await down(config)).toBe(false);
  expect(readFileSync(hostsFile, 'utf8')).toBe('127.0.0.1 localhost\n');
});

test('ends the session on SIGTERM', async () => {
  const { config, broker } = await surroundingsOfAgent();
  afterThisTest(() => down(config));
  const { pid } = await launchAgent(config, { env });
  process.kill(pid, 'SIGTERM');
  await expect.poll(() => isProcessAlive(pid)).toBe(false);
  expect(broker.calls).toContain('DELETE /session');
});

test.each([
  ['SIGTERM', 'POST /token'],
  ['SIGTERM', 'POST /certificates'],
  ['down', 'POST /token'],
  ['down', 'POST /certificates'],
])('ends the agent and its session on %s during the start, while %s is pending', async (how, held) => {
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { config, broker } = await surroundingsOfAgent({
    adjust: (of) => {
      of.tamper = (call, answer) => {
        if (call !== held) return;
        answer.instead = (response) =>
          void released.then(() => response.writeHead(answer.status, answer.headers).end(JSON.stringify(answer.json)));
      };
    },
  });
  afterThisTest(() => down(config));
  const launched = launchAgent(config, { env });
  const refused = expect(launched).rejects.toMatchObject({ code: 'agent_not_running' });
  await expect.poll(() => broker.calls).toContain(held);
  const { stdout } = await promisify(execFile)('pgrep', ['-f', config.runtimeDirectory]);
  const pid = Number(stdout.trim().split('\n')[0]);
  if (how === 'SIGTERM') process.kill(pid, 'SIGTERM');
  if (held === 'POST /token') setTimeout(release, 300);
  if (how === 'down') expect(await down(config)).toBe(true);
  await refused;
  await expect.poll(() => broker.calls).toContain('DELETE /session');
  await expect.poll(() => isProcessAlive(pid)).toBe(false);
  expect(broker.sessions.size).toBe(0);
  release();
});

test('reports to the caller why the broker refused the agent', async () => {
  const { config, broker } = await surroundingsOfAgent();
  await expect(launchAgent(config, { env: { ...env, GITHUB_TOKEN: 'wrong' } })).rejects.toMatchObject({
    code: 'proof_rejected',
  });
  const prebuild = { ...env, ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x' };
  await expect(launchAgent(config, { env: prebuild })).rejects.toMatchObject({ code: 'agent_prebuild' });
  expect(broker.calls).toEqual(['POST /token']);
  const nobody = { ...config, broker: 'https://localhost:1' };
  await expect(launchAgent(nobody, { env })).rejects.toMatchObject({ code: 'agent_broker_unreachable' });
});
