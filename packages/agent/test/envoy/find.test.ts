/** Selection of the agent's Envoy. The programs in this test only print a version, like Envoy. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { findEnvoy } from '../../src/envoy/find.ts';
import { ENVOY_VERSION, envoyPackage } from '../../src/envoy/release.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-envoy-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function place(path: string, version = ENVOY_VERSION): string {
  return write(path, `#!/bin/sh\necho "envoy  version: 9e5580/${version}/Clean/RELEASE/BoringSSL"\n`);
}

function write(path: string, text: string, mode = 0o755): string {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

/** Places a package where npm installs it for a module in `app`. */
function placePackage(version?: string): string {
  const home = join('app/node_modules', envoyPackage(process.arch));
  write(join(home, 'package.json'), '{}', 0o644);
  return place(join(home, 'bin/envoy'), version);
}

const module = () => join(folder, 'app/agent.js');

it('prefers the Envoy that the user specified', async () => {
  placePackage();
  const named = place('named/envoy');
  expect(await findEnvoy(named, {}, { module: module() })).toEqual({ path: named, version: ENVOY_VERSION });
});

it('tries no other if the specified one cannot run', async () => {
  placePackage();
  const found = findEnvoy(join(folder, 'absent'), {}, { module: module() });
  await expect(found).rejects.toMatchObject({
    code: 'agent_envoy_missing',
    message: expect.stringMatching(/^Cannot run \S*absent \(ENOENT\)/),
  });
});

it('prefers the npm package to the PATH', async () => {
  const installed = placePackage();
  place('bin/envoy');
  const found = await findEnvoy(undefined, { PATH: join(folder, 'bin') }, { module: module() });
  expect(found.path).toBe(installed);
});

it('uses the Envoy beside the single executable, and no npm package', async () => {
  placePackage();
  const beside = place('opt/envoy');
  expect((await findEnvoy(undefined, {}, { executable: join(folder, 'opt/meshpass') })).path).toBe(beside);
});

it('accepts a patch release on the PATH, and skips entries that are not programs', async () => {
  write('data/envoy', 'text', 0o644);
  mkdirSync(join(folder, 'directory/envoy'), { recursive: true });
  const found = place('bin/envoy', '1.40.7');
  const PATH = ['data', 'directory', 'bin'].map((name) => join(folder, name)).join(':');
  expect(await findEnvoy(undefined, { PATH }, {})).toEqual({ path: found, version: '1.40.7' });
});

it('runs no program from the working directory', async () => {
  place('envoy');
  const before = process.cwd();
  process.chdir(folder);
  try {
    await expect(findEnvoy(undefined, { PATH: '.::bin' }, {})).rejects.toMatchObject({ code: 'agent_envoy_missing' });
  } finally {
    process.chdir(before);
  }
});

it('refuses another version, and states the required one', async () => {
  const old = place('named/envoy', '1.4.0');
  await expect(findEnvoy(old, {}, {})).rejects.toMatchObject({
    code: 'agent_envoy_missing',
    message: expect.stringContaining('is Envoy 1.4.0, but Meshpass requires 1.40.x'),
  });
});

it('refuses a program that is not Envoy', async () => {
  const other = write('named/envoy', '#!/bin/sh\necho "version 1.40.0"\n');
  await expect(findEnvoy(other, {}, {})).rejects.toMatchObject({
    message: expect.stringContaining('does not identify itself as Envoy'),
  });
});

it('explains how to install Envoy if there is none', async () => {
  await expect(findEnvoy(undefined, {}, { module: module() })).rejects.toMatchObject({
    code: 'agent_envoy_missing',
    message: expect.stringMatching(/Envoy is not installed\. Install the package .*MESHPASS_ENVOY/),
  });
});
