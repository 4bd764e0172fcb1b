/** The container image: built twice, unpacked and run by skopeo, umoci and runc, with a read-only root and without a capability. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, globSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureArm64, ensureContainerTools } from '@meshpass/lab/install/debian';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage, imageFile, ROOT, runContainer, runtimeConfig, unpack } from './image.ts';

const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/cli/package.json'), 'utf8')) as { version: string };

let work: string;
let bundle: string;

/** Paths in the image, of everything that is no folder. */
const files = () =>
  globSync('**', { cwd: join(bundle, 'rootfs'), withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(bundle, 'rootfs').length));

beforeAll(async () => {
  await ensureContainerTools(() => undefined);
  work = mkdtempSync(join(tmpdir(), 'meshpass-image-'));
  await buildImage();
  bundle = unpack(imageFile(`-${process.arch}.oci.tar`), version, work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('the image', () => {
  it('has the same bytes when it is built again, with another umask, time zone and temporary folder', {
    timeout: 600_000,
  }, async () => {
    const archive = imageFile(`-${process.arch}.oci.tar`);
    const sbom = imageFile(`-${process.arch}.cdx.json`);
    const before = [archive, sbom].map((file) => readFileSync(file));
    const elsewhere = join(work, 'elsewhere');
    mkdirSync(elsewhere);
    await buildImage([process.arch], '077', { TMPDIR: elsewhere, TZ: 'Asia/Kolkata', LC_ALL: 'C.UTF-8' }, true);
    expect([archive, sbom].map((file, index) => readFileSync(file).equals(before[index]!))).toEqual([true, true]);
  });

  it('runs as user 65532, from its own entrypoint', () => {
    const { process } = runtimeConfig(bundle);
    expect(process).toMatchObject({ user: { uid: 65532, gid: 65532 }, args: ['/usr/local/bin/meshpass'], cwd: '/' });
  });

  it('carries its name for containerd', () => {
    const index = execFileSync('tar', ['xOf', imageFile(`-${process.arch}.oci.tar`), 'index.json'], {
      encoding: 'utf8',
    });
    const [{ annotations }] = JSON.parse(index).manifests;
    expect(annotations['io.containerd.image.name']).toBe(`ghcr.io/meshpass/meshpass:${version}`);
  });

  it('has one program, and neither a shell nor a package manager', () => {
    const programs = files().filter((path) => {
      const entry = lstatSync(join(bundle, 'rootfs', path));
      return entry.isFile() && entry.mode & 0o111 && !path.startsWith('/usr/lib');
    });
    expect(programs).toEqual(['/usr/local/bin/meshpass']);
    for (const shell of ['/bin/sh', '/usr/bin/sh', '/bin/bash', '/usr/bin/dpkg', '/usr/bin/apt-get'])
      expect(runContainer(bundle, [], shell)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('no such file'),
      });
  });

  it('has nothing that is setuid, setgid, or writable for others, and of the user only its folder for data', () => {
    const found = (...test: string[]) => {
      const paths = execFileSync('find', ['.', ...test], { cwd: join(bundle, 'rootfs'), encoding: 'utf8' });
      return paths.split('\n').filter(Boolean);
    };
    expect(found('-perm', '/6000')).toEqual([]);
    expect(found('!', '-type', 'l', '-perm', '/022')).toEqual([]);
    expect(found('!', '-user', '0')).toEqual(['./var/lib/meshpass']);
    expect(found('-type', 'd', '-perm', '0700')).toEqual(['./var/lib/meshpass']);
  });

  it.each(['serve', 'edge'])('runs meshpass %s --help, with a read-only root and no capability', (verb) => {
    const help = runContainer(bundle, [verb, '--help']);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toContain(`Usage: meshpass ${verb}`);
  });

  it('has the licences of all that is in it', () => {
    const root = join(bundle, 'rootfs');
    for (const name of [
      'libc6',
      'libstdc++6',
      'libgcc-s1',
      'libatomic1',
      'gcc-14-base',
      'ca-certificates',
      'base-files',
    ])
      expect(readFileSync(join(root, 'usr/share/doc', name, 'copyright'), 'utf8').length, name).toBeGreaterThan(500);
    expect(readFileSync(join(root, 'usr/share/doc/meshpass/LICENSE.node'), 'utf8')).toContain('Node.js is licensed');
    expect(readFileSync(join(root, 'usr/share/doc/meshpass/LICENSES.npm'), 'utf8')).toContain('kysely');
  });
});

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
  readonly evidence?: { readonly occurrences: readonly { readonly location: string }[] };
}

describe('its bill of materials', () => {
  let components: readonly Component[];
  beforeAll(() => {
    components = JSON.parse(readFileSync(imageFile(`-${process.arch}.cdx.json`), 'utf8')).components;
  });

  it('lists the package of every file, and no missing file', () => {
    const listed = components.flatMap(({ evidence }) => evidence?.occurrences.map(({ location }) => location) ?? []);
    expect(listed.sort()).toEqual(files().sort());
  });

  it('names each Debian package by the version that scanners find in the image', () => {
    const status = globSync('var/lib/dpkg/status.d/*', { cwd: join(bundle, 'rootfs') }).map((path) => {
      const control = readFileSync(join(bundle, 'rootfs', path), 'utf8');
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(control)![1];
      return `${field('Package')} ${field('Version')}`;
    });
    const debian = components.filter(({ purl }) => purl?.startsWith('pkg:deb/'));
    expect(debian.map(({ name, version }) => `${name} ${version}`).sort()).toEqual(status.sort());
    expect(status).toHaveLength(7);
  });

  it('names Node.js, and the npm packages that the broker loads', () => {
    const names = components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['Node.js', 'pg', 'kysely', 'zod', '@electric-sql/pglite', 'jose']));
    expect(components.find(({ name }) => name === 'Node.js')!.version).toBe(process.versions.node);
  });
});

describe('the image for arm64, emulated', () => {
  let arm64: string;
  let emulator: readonly string[];
  beforeAll(async () => {
    emulator = await ensureArm64(() => undefined);
    mkdirSync(join(work, 'arm64'));
    arm64 = unpack(imageFile('-arm64.oci.tar'), version, join(work, 'arm64'));
  });

  it('runs meshpass serve --help', () => {
    const [program] = emulator;
    if (program) copyFileSync(program, join(arm64, 'rootfs/emulator'));
    const help = program
      ? runContainer(arm64, ['/usr/local/bin/meshpass', 'serve', '--help'], '/emulator')
      : runContainer(arm64, ['serve', '--help']);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    expect(help.stdout).toContain('Usage: meshpass serve');
  });

  it('is, with the other, one image', () => {
    const source = `oci-archive:${imageFile('.oci.tar')}:${version}`;
    // Reads, and verifies, all that the index names.
    execFileSync('skopeo', ['copy', '--quiet', '--all', '--preserve-digests', source, `dir:${join(work, 'all')}`]);
    const index = JSON.parse(readFileSync(join(work, 'all/manifest.json'), 'utf8'));
    expect(index.manifests.map(({ platform }: { platform: object }) => platform)).toEqual([
      { architecture: 'amd64', os: 'linux' },
      { architecture: 'arm64', os: 'linux' },
    ]);
    const digests = ['x64', 'arm64'].map((arch) => JSON.parse(readFileSync(imageFile(`-${arch}.cdx.json`), 'utf8')));
    expect(index.manifests.map(({ digest }: { digest: string }) => digest.slice('sha256:'.length))).toEqual(
      digests.map(({ metadata }) => metadata.component.hashes[0].content),
    );
  });
});
