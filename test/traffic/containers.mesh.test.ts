/** Programs in containers of the Codespace: on a bridge of their own, as Docker has, they see nothing of the workspace's loopback. */
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';
import { CURL } from './traffic-in-the-mesh.ts';

const BRIDGE = 'docker0';
const BRIDGE_ADDRESS = '172.17.0.1';
const LOOPBACK_PORT = 9_876;
const LOOPBACK_SERVER = `require('node:http').createServer((_, answer) => answer.end('only for the workspace'))
  .listen(${LOOPBACK_PORT}, '127.0.0.1', () => console.log('here'))`;
const ORDER = 'http://orders.shop:8080/orders/1';

let lab: Lab;
let dataPath: DataPath;
let container: ReturnType<Lab['spawn']>;
let onLoopback: ReturnType<Lab['spawn']>;

beforeAll(async () => {
  lab = await upLab();
  dataPath = await openDataPath();
  await workspace(['ip', 'link', 'add', BRIDGE, 'type', 'bridge']);
  await workspace(['ip', 'address', 'add', `${BRIDGE_ADDRESS}/16`, 'dev', BRIDGE]);
  await workspace(['ip', 'link', 'set', BRIDGE, 'up']);
  container = lab.spawn('workspace', ['unshare', '--net', 'sh', '-c', 'echo here; exec sleep infinity']);
  await new Promise((resolve) => container.stdout?.once('data', resolve));
  const peer = `link add veth0 type veth peer name eth0 netns ${container.pid}`;
  await workspace(['ip', ...peer.split(' ')]);
  await workspace(['ip', 'link', 'set', 'veth0', 'master', BRIDGE, 'up']);
  await inContainer(['ip', 'address', 'add', '172.17.0.2/16', 'dev', 'eth0']);
  await inContainer(['ip', 'link', 'set', 'eth0', 'up']);
  onLoopback = lab.spawn('workspace', [process.execPath, '-e', LOOPBACK_SERVER]);
  await new Promise((resolve) => onLoopback.stdout?.once('data', resolve));
  const env = await dataPath.environment();
  const up = await lab.exec('workspace', ['meshpass', 'up', '--bridge-address', BRIDGE_ADDRESS], { env });
  expect(up).toMatchObject({ code: 0, stderr: '' });
});
afterAll(async () => {
  await lab?.exec('workspace', ['meshpass', 'down']);
  container?.kill();
  onLoopback?.kill();
  await lab?.exec('workspace', ['ip', 'link', 'del', BRIDGE]);
  await dataPath?.close();
  await lab?.down();
});

async function workspace(argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec('workspace', argv);
  expect({ argv, code, stderr }).toMatchObject({ code: 0 });
  return stdout;
}

/** @param env what `docker run --env-file` would set */
async function inContainer(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const enter = ['nsenter', '--net', '--target', String(container.pid)];
  return await lab.exec('workspace', [...enter, ...argv], { env });
}

async function curl(env: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const { stdout } = await inContainer([...CURL, ...args], env);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
}

async function envFile(): Promise<Record<string, string>> {
  const lines = (await workspace(['meshpass', 'env', '--container'])).trim().split('\n');
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

describe('a program in a container on a bridge', () => {
  it('reaches a service by name with the lines of `meshpass env --container`, under the policy of the session', async () => {
    const env = await envFile();
    expect(env.http_proxy).toContain(`@${BRIDGE_ADDRESS}:`);
    expect(await curl(env, ORDER)).toMatchObject({ status: 200 });
    expect(await curl(env, '-X', 'DELETE', ORDER)).toMatchObject({ status: 403 });
    expect(await curl(env, '--proxytunnel', ORDER)).toMatchObject({ status: 200 });
  });

  it('is refused without the secret, and has no other way', async () => {
    const { http_proxy } = await envFile();
    const without = { http_proxy: http_proxy!.replace(/\/\/.*@/, '//') };
    expect(await curl(without, ORDER)).toMatchObject({ status: 407 });
    expect(await curl({}, '--resolve', `orders.shop:8080:${BRIDGE_ADDRESS}`, ORDER)).toMatchObject({ status: 0 });
  });

  it('reaches no listener on the loopback of the workspace, by any name', async () => {
    const { http_proxy } = await envFile();
    const env = { http_proxy: http_proxy! };
    // Reachable from the workspace, so a refusal does not mean that nothing listens.
    const { stdout } = await lab.exec('workspace', [...CURL, `http://127.0.0.1:${LOOPBACK_PORT}/`]);
    expect(stdout).toContain('only for the workspace');
    for (const host of ['127.0.0.1', 'localhost', '2130706433', '0.0.0.0', '[::ffff:127.0.0.1]']) {
      const url = `http://${host}:${LOOPBACK_PORT}/`;
      for (const way of [[], ['--proxytunnel']]) {
        const { status, body } = await curl(env, ...way, url);
        expect({ url, way, status, body }).toMatchObject({ body: expect.not.stringContaining('only for') });
        if (host === '127.0.0.1') expect({ way, status }).toEqual({ way, status: way.length === 0 ? 403 : 0 });
      }
    }
  });

  it('leaves the programs of the workspace their own proxy', async () => {
    const env = JSON.parse(await workspace(['meshpass', 'env', '--output', 'json'])) as Record<string, string>;
    expect(env.http_proxy).toContain('@127.0.0.1:');
    const { stdout } = await lab.exec('workspace', [...CURL, '-o', '/dev/null', ORDER], { env });
    expect(stdout.trim()).toBe('200');
  });
});
