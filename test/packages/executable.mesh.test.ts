/**
 * `meshpass` as one file, on hosts whose PATH has no Node.js: the broker with its embedded store, and an agent. The one for arm64
 * runs under QEMU's emulation of a processor, on this machine's kernel.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { ENVOY_VERSION } from '@meshpass/agent/envoy/release';
import { ensureArm64 } from '@meshpass/lab/install/debian';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltExecutable, buildExecutable } from '../../bench/executable.ts';
import { residentMegabytes } from '../../bench/sessions/bench.ts';
import { type DataPath, openDataPath } from '../mesh.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SAMPLES = join(ROOT, 'lab/samples');

let built: BuiltExecutable;
let executable: string;
/** A folder with the few programs that the agent calls, and no Node.js. */
let path: string;

beforeAll(async () => {
  built = await buildExecutable();
  executable = join(built.home, 'meshpass');
  path = mkdtempSync(join(tmpdir(), 'meshpass-path-'));
  for (const program of ['sh', 'curl']) symlinkSync(`/usr/bin/${program}`, join(path, program));
});
afterAll(() => {
  built?.remove();
  if (path) rmSync(path, { recursive: true, force: true });
});

/** A command line whose process finds only the programs of that folder. */
const alone = (...argv: readonly string[]) => ['/usr/bin/env', `PATH=${path}`, ...argv];

const meshpass = (...argv: readonly string[]) =>
  spawnSync(executable, argv, { cwd: SAMPLES, encoding: 'utf8', env: { PATH: path } });

describe('the executable', () => {
  it('prints its version', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/cli/package.json'), 'utf8')) as {
      version: string;
    };
    expect(meshpass('--version')).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('has Envoy beside it, with its licence', () => {
    const { stdout } = spawnSync(join(built.home, 'envoy'), ['--version'], { encoding: 'utf8' });
    expect(stdout).toContain(`/${ENVOY_VERSION}/`);
    expect(readFileSync(join(built.home, 'NOTICE'), 'utf8')).toContain('Envoy Project Authors');
    expect(readFileSync(join(built.home, 'LICENSE'), 'utf8')).toContain('Apache License');
  });

  it('lints', () => {
    const lint = meshpass('policy', 'lint', 'mesh');
    expect(lint).toMatchObject({ status: 1, stderr: '' });
    expect(lint.stdout).toContain('MP101 open-test-route');
  });

  it('plans', () => {
    const url = 'https://broker.example.com';
    const plan = meshpass('policy', 'plan', '--access', 'access.yaml', '--public-url', url, 'mesh');
    expect(plan).toMatchObject({ status: 0, stderr: '' });
    expect(plan.stdout).toContain('payments-dev gains GET /orders/* on orders.shop:8080');
  });

  it('explains how to serve', () => {
    expect(meshpass('serve', '--help').stdout).toContain('--public-url');
  });
});

describe('the executable on the hosts of a mesh', () => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath({ command: alone(executable) });
  });
  afterAll(() => dataPath?.close());

  it('is broker, edge and agent: a Codespace joins the mesh, calls a service by name, and leaves nothing; the agent does not hold the command', async () => {
    const env = await dataPath.environment();
    const workspace = (...argv: readonly string[]) => dataPath.lab.exec('workspace', alone(...argv), { env });
    const up = await workspace(executable, 'up', '--output', 'json');
    expect(up).toMatchObject({ code: 0, stderr: '' });
    // 76 MB, and 183 with the command in it.
    expect(residentMegabytes((JSON.parse(up.stdout) as AgentStatus).pid)).toBeLessThan(110);
    const called = await workspace('curl', '-sS', '-m', '10', 'http://orders.shop:8080/orders/42');
    expect(called.stdout.trim()).toBe('{"id":"42","state":"shipped","total":4200}');
    expect(await workspace(executable, 'down')).toMatchObject({ code: 0 });
    expect((await dataPath.audit()).map(({ action }) => action)).toContain('session.close');
  });
});

describe('the executable for arm64, emulated', () => {
  let built: BuiltExecutable;
  let file: string;
  let dataPath: DataPath;
  /** The command line that runs it on this machine. */
  let emulated: readonly string[];

  beforeAll(async () => {
    built = await buildExecutable('arm64');
    file = join(built.home, 'meshpass');
    emulated = [...(await ensureArm64(() => undefined)), file];
    dataPath = await openDataPath();
  });
  afterAll(async () => {
    await dataPath?.close();
    built?.remove();
  });

  const meshpassArm64 = (...argv: readonly string[]) =>
    spawnSync(emulated[0]!, [...emulated.slice(1), ...argv], { cwd: SAMPLES, encoding: 'utf8', env: { PATH: path } });

  it('is for that processor', () => {
    expect(readFileSync(file).readUInt16LE(18)).toBe(183); // e_machine of ELF: AArch64
  });

  it('lints', { timeout: 300_000 }, () => {
    const lint = meshpassArm64('policy', 'lint', 'mesh');
    expect(lint).toMatchObject({ status: 1, stderr: '' });
    expect(lint.stdout).toContain('MP101 open-test-route');
  });

  it('is an agent: a Codespace joins the mesh, calls a service by name, and leaves nothing', {
    timeout: 600_000,
  }, async () => {
    const env = await dataPath.environment();
    const workspace = (...argv: readonly string[]) => dataPath.lab.exec('workspace', alone(...argv), { env });
    // An emulated handshake may take longer than the broker waits: 3 is an unreachable broker.
    const run = async (tries = 5): Promise<number | null> => {
      const { code } = await workspace(...emulated, 'up', '--foreground');
      return code === 3 && tries > 1 ? await run(tries - 1) : code;
    };
    const agent = run();
    const call = async () =>
      (await workspace('curl', '-sS', '-m', '30', 'http://orders.shop:8080/orders/42')).stdout.trim();
    await expect.poll(call, { timeout: 500_000 }).toBe('{"id":"42","state":"shipped","total":4200}');
    expect(await workspace(...emulated, 'down')).toMatchObject({ code: 0 });
    expect(await agent).toBe(0);
  });
});
