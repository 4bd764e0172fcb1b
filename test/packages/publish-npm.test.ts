/** The packages of a release, published with npm to a registry that is played. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type PlayedNpmRegistry, playNpmRegistry } from './npm-registry.ts';

const SCRIPT = fileURLToPath(new URL('../../deploy/npm/publish.sh', import.meta.url));
const NAMES = [
  ...['envoy-linux-x64', 'envoy-linux-arm64', 'identity', 'envoy', 'istio', 'access', 'analysis', 'edge', 'agent'],
  ...['broker', 'cli'],
];

let work: string;
let registry: PlayedNpmRegistry;
beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'meshpass-publish-npm-'));
  registry = await playNpmRegistry(work);
});
afterEach(() => {
  registry.close();
  rmSync(work, { recursive: true, force: true });
});

/** @returns folder with an archive of each package */
function packed(version: string, description = ''): string {
  const folder = mkdtempSync(join(work, 'release-'));
  for (const name of NAMES) {
    mkdirSync(join(folder, name, 'package'), { recursive: true });
    const json = { name: `@meshpass/${name}`, version, description };
    writeFileSync(join(folder, name, 'package/package.json'), JSON.stringify(json));
    const archive = join(folder, `meshpass-${name}-${version}.tgz`);
    execFileSync('tar', ['-czf', archive, '-C', join(folder, name), 'package']);
  }
  return folder;
}

const publish = (folder: string, version: string) =>
  promisify(execFile)('sh', [SCRIPT, folder, version], { cwd: work, env: { ...process.env, ...registry.env } });
const published = () => [...registry.packages.keys()].map((name) => name.replace('@meshpass/', ''));

it('publishes the archives unchanged and in order, and continues an interrupted run', async () => {
  const folder = packed('0.2.0');
  registry.broken = '@meshpass/istio';
  await expect(publish(folder, '0.2.0')).rejects.toThrow('503');
  expect(published()).toEqual(NAMES.slice(0, 4));
  registry.broken = undefined;
  await publish(folder, '0.2.0');
  expect(published()).toEqual(NAMES);
  for (const name of NAMES) {
    const { 'dist-tags': tags, _attachments: attached } = registry.packages.get(`@meshpass/${name}`)!;
    expect(tags).toEqual({ latest: '0.2.0' });
    const archive = readFileSync(join(folder, `meshpass-${name}-0.2.0.tgz`)).toString('base64');
    expect(Object.values(attached!).map(({ data }) => data)).toEqual([archive]);
  }
});

it('does not replace a published version that has other bytes', async () => {
  const name = '@meshpass/envoy-linux-x64';
  const dist = { integrity: 'sha512-another', tarball: 'http://127.0.0.1/x.tgz' };
  registry.packages.set(name, {
    'dist-tags': { latest: '0.2.0' },
    versions: { '0.2.0': { name, version: '0.2.0', dist } },
  });
  await expect(publish(packed('0.2.0'), '0.2.0')).rejects.toThrow(
    `${name}@0.2.0 is published already with other bytes`,
  );
  expect(published()).toEqual(['envoy-linux-x64']);
});

it('publishes a fix of an older version under a tag of its own', async () => {
  registry.packages.set('@meshpass/cli', {
    'dist-tags': { latest: '0.10.0' },
    versions: { '0.10.0': { name: '@meshpass/cli', version: '0.10.0' } },
  });
  registry.broken = '@meshpass/envoy-linux-arm64';
  await expect(publish(packed('0.9.1'), '0.9.1')).rejects.toThrow();
  expect(registry.packages.get('@meshpass/envoy-linux-x64')!['dist-tags']).toEqual({ 'release-0.9': '0.9.1' });
});

it('publishes nothing if the registry does not list its versions', async () => {
  registry.broken = '*';
  await expect(publish(packed('0.2.0'), '0.2.0')).rejects.toThrow('503');
  expect(published()).toEqual([]);
});
