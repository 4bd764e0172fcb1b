/** `meshpass` as one file, on hosts whose PATH has no Node.js: the broker with its embedded store, and an agent. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EXECUTABLE = join(ROOT, `dist/meshpass-${process.platform}-${process.arch}`);
const SAMPLES = join(ROOT, 'lab/samples');

/** A folder with the few programs that the agent calls, and no Node.js. */
let path: string;

beforeAll(() => {
  execFileSync('npm', ['run', '--silent', 'build:executable'], { cwd: ROOT });
  path = mkdtempSync(join(tmpdir(), 'meshpass-path-'));
  for (const program of ['sh', 'curl']) symlinkSync(`/usr/bin/${program}`, join(path, program));
});
afterAll(() => rmSync(path, { recursive: true, force: true }));

/** A command line whose process finds nothing but what is in that folder. */
const alone = (...argv: readonly string[]) => ['/usr/bin/env', `PATH=${path}`, ...argv];

const meshpass = (...argv: readonly string[]) =>
  spawnSync(EXECUTABLE, argv, { cwd: SAMPLES, encoding: 'utf8', env: { PATH: path } });

describe('the executable', () => {
  it('says its version', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/cli/package.json'), 'utf8')) as {
      version: string;
    };
    expect(meshpass('--version')).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
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
    dataPath = await openDataPath({ command: alone(EXECUTABLE) });
  });
  afterAll(() => dataPath?.close());

  it('is broker, edge and agent: a Codespace joins the mesh, calls a service by name, and leaves nothing', async () => {
    const env = await dataPath.environment();
    const workspace = (...argv: readonly string[]) => dataPath.lab.exec('workspace', alone(...argv), { env });
    expect(await workspace(EXECUTABLE, 'up')).toMatchObject({ code: 0, stderr: '' });
    const called = await workspace('curl', '-sS', '-m', '10', 'http://orders.shop:8080/orders/42');
    expect(called.stdout.trim()).toBe('{"id":"42","state":"shipped","total":4200}');
    expect(await workspace(EXECUTABLE, 'down')).toMatchObject({ code: 0 });
    expect((await dataPath.audit()).map(({ action }) => action)).toContain('session.close');
  });
});
