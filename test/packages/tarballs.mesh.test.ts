/** npm packages as a user gets them: packed, installed in an empty folder, and run against the real mesh. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENVOY_VERSION, envoyPackage } from '@meshpass/agent/envoy/release';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SAMPLES = join(ROOT, 'packages/cli/test/commands/policy/files');

let folder: string;
/** A folder in `dist` from before the build. */
let ofOthers: string;
let installed: string;
let packed: readonly string[];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-packages-'));
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  ofOthers = mkdtempSync(join(ROOT, 'dist/of-others-'));
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT });
  // Of the packages with Envoy, npm would choose the one for this machine from a registry.
  const envoy = join(ROOT, `dist/envoy-${process.platform}-${process.arch}`);
  packed = [...globSync(join(ROOT, 'packages/*/dist')), envoy].map((dist) =>
    join(
      folder,
      execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: dist, encoding: 'utf8' }).trim(),
    ),
  );
  writeFileSync(join(folder, 'package.json'), '{"private": true}');
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', ...packed], { cwd: folder });
  installed = join(folder, 'node_modules/.bin/meshpass');
});
afterAll(() => {
  for (const one of [folder, ofOthers]) if (one) rmSync(one, { recursive: true, force: true });
});

const meshpass = (...argv: readonly string[]) => spawnSync(installed, argv, { cwd: SAMPLES, encoding: 'utf8' });

describe('the packed packages', () => {
  it('print their version', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/cli/package.json'), 'utf8')) as {
      version: string;
    };
    expect(meshpass('--version')).toMatchObject({ status: 0, stdout: `${version}\n` });
  });

  it('do not change builds of others, which may be in use', () => {
    expect(existsSync(ofOthers)).toBe(true);
  });

  it('have no TypeScript but declarations, and export nothing that is not there', () => {
    const files = globSync('node_modules/@meshpass/*/**/*.ts', { cwd: folder });
    expect(files.length).toBeGreaterThan(100);
    expect(files.filter((file) => !file.endsWith('.d.ts'))).toEqual([]);
    const script = `import '@meshpass/access'; import '@meshpass/identity';
      await import('@meshpass/' + 'analysis/lint/lint').then(() => process.exit(1), (error) => console.log(error.code));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(stdout).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED\n');
  });

  it('bring Envoy for this machine, with its licence, and the agent finds it', () => {
    const home = join(folder, 'node_modules', envoyPackage(process.arch));
    expect(readFileSync(join(home, 'LICENSE'), 'utf8')).toContain('Apache License');
    expect(readFileSync(join(home, 'NOTICE'), 'utf8')).toContain('Envoy Project Authors');
    const agent = join(folder, 'node_modules/@meshpass/agent/lib/envoy/find.js');
    const script = `const { findEnvoy } = await import(${JSON.stringify(agent)});
      console.log(JSON.stringify(await findEnvoy(undefined, {})));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual({ path: join(home, 'bin/envoy'), version: ENVOY_VERSION });
  });

  it('work without Envoy if npm leaves optional dependencies out, and then explain how to get it', () => {
    const other = mkdtempSync(join(tmpdir(), 'meshpass-no-envoy-'));
    try {
      writeFileSync(join(other, 'package.json'), '{"private": true}');
      const ours = packed.filter((tarball) => !tarball.includes('envoy-linux'));
      const flags = ['--silent', '--no-audit', '--no-fund', '--omit=optional', '--prefer-offline'];
      execFileSync('npm', ['install', ...flags, ...ours], { cwd: other });
      const agent = join(other, 'node_modules/@meshpass/agent/lib/envoy/find.js');
      const script = `const { findEnvoy } = await import(${JSON.stringify(agent)});
        await findEnvoy(undefined, {}).catch(({ code }) => console.log(code));`;
      const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
      expect(stdout).toBe('agent_envoy_missing\n');
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });

  it('need nothing that is for development', () => {
    const modules = globSync('node_modules/{vitest,typescript,@octokit/openapi,oidc-provider}', { cwd: folder });
    expect(modules).toEqual([]);
  });

  it('lint', () => {
    expect(meshpass('policy', 'lint', 'mesh')).toMatchObject({ status: 0, stderr: '' });
  });

  it('plan', () => {
    const plan = meshpass(
      'policy',
      'plan',
      '--access',
      'access.yaml',
      '--public-url',
      'https://broker.example.com',
      'mesh',
    );
    expect(plan.stdout).toContain('payments-dev');
  });

  it('explain how to serve', () => {
    const help = meshpass('serve', '--help');
    expect(help).toMatchObject({ status: 0 });
    expect(help.stdout).toContain('--public-url');
  });

  it('report in one line that Node.js is too old', () => {
    const old = `Object.defineProperty(process, 'version', { value: 'v20.1.0' })`;
    const main = join(folder, 'node_modules/@meshpass/cli/lib/main.js');
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', `data:text/javascript,${old}`, main, '--version'],
      {
        encoding: 'utf8',
      },
    );
    expect(status).toBe(2);
    expect(stderr).toMatch(/^meshpass requires Node\.js 24 or later, but .* is v20\.1\.0\. .*\n$/);
  });
});

describe('the packed agent in a Codespace', () => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath();
  });
  afterAll(() => dataPath?.close());

  it('joins the mesh, calls a service by name, and leaves nothing', async () => {
    const env = await dataPath.environment();
    const up = await dataPath.lab.exec('workspace', [process.execPath, installed, 'up'], { env });
    expect(up).toMatchObject({ code: 0, stderr: '' });
    const called = await dataPath.lab.exec('workspace', [
      'curl',
      '-sS',
      '-m',
      '10',
      'http://orders.shop:8080/orders/42',
    ]);
    expect(called.stdout.trim()).toBe('{"id":"42","state":"shipped","total":4200}');
    expect(await dataPath.lab.exec('workspace', [process.execPath, installed, 'down'], { env })).toMatchObject({
      code: 0,
    });
  });
});
