/** The devcontainer Feature as registries and tools get it. Small programs of the system stand for those of a release. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needsOf } from '../../deploy/feature/elf.ts';
import { buildFeature } from '../../deploy/feature/feature.ts';

interface Manifest {
  readonly config: { readonly mediaType: string };
  readonly layers: readonly { readonly mediaType: string; readonly digest: string; readonly annotations: object }[];
  readonly annotations: Readonly<Record<string, string>>;
}

let work: string;
let archives: string;
let output: string;
let glibc: Readonly<Record<string, string>>;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'meshpass-package-'));
  archives = join(work, 'release');
  output = join(work, 'feature');
  mkdirSync(archives);
  for (const arch of ['x64', 'arm64']) {
    const folder = join(work, `meshpass-linux-${arch}`);
    mkdirSync(folder);
    for (const program of ['meshpass', 'envoy']) copyFileSync('/bin/true', join(folder, program));
    writeFileSync(join(folder, 'NOTICE'), arch);
    const archive = join(archives, `meshpass-linux-${arch}.tar.gz`);
    execFileSync('tar', ['-czf', archive, '-C', work, `meshpass-linux-${arch}`]);
  }
  glibc = buildFeature({ archives, arches: ['x64', 'arm64'], output });
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const script = () => readFileSync(join(output, 'meshpass/install.sh'), 'utf8');
const blob = (digest: string) => join(output, 'oci/blobs/sha256', digest.slice('sha256:'.length));
const manifest = (name: string): Manifest => {
  const { manifests } = JSON.parse(readFileSync(join(output, 'oci/index.json'), 'utf8')) as {
    readonly manifests: readonly { readonly digest: string; readonly annotations: Readonly<Record<string, string>> }[];
  };
  const found = manifests.find(({ annotations }) => annotations['org.opencontainers.image.ref.name'] === name)!;
  const path = blob(found.digest);
  expect(`sha256:${sha256(path)}`).toBe(found.digest);
  return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
};

describe('install.sh', () => {
  it('carries the SHA-256 of each archive', () => {
    for (const arch of ['x64', 'arm64'])
      expect(script()).toContain(
        `SHA256_${arch.toUpperCase()}='${sha256(join(archives, `meshpass-linux-${arch}.tar.gz`))}'`,
      );
  });

  it('carries the glibc that the programs ask for, and the libraries beside it', () => {
    expect(glibc.x64).toMatch(/^2\.[0-9]+$/);
    expect(script()).toContain(`GLIBC_ARM64='${glibc.arm64}'`);
    expect(script()).not.toMatch(/@[A-Z0-9_]+@/);
  });
});

describe('the package', () => {
  it('is a tar of the folder, with install.sh to be executed', () => {
    const archive = join(output, 'devcontainer-feature-meshpass.tgz');
    const listed = execFileSync('tar', ['-tvf', archive], { encoding: 'utf8' });
    expect(listed).toMatch(/-rwxr-xr-x .* \.\/install\.sh\n/);
    expect(listed).toMatch(/ \.\/devcontainer-feature\.json\n/);
  });

  it('is the same bytes from each build', () => {
    const again = join(work, 'again');
    buildFeature({ archives, arches: ['x64', 'arm64'], output: again });
    expect(sha256(join(again, 'oci/index.json'))).toBe(sha256(join(output, 'oci/index.json')));
  });

  it('is an artefact with the media types and the metadata that tools expect', () => {
    const { config, layers, annotations } = manifest('feature');
    expect(config.mediaType).toBe('application/vnd.devcontainers');
    expect(layers).toMatchObject([
      {
        mediaType: 'application/vnd.devcontainers.layer.v1+tar',
        annotations: { 'org.opencontainers.image.title': 'devcontainer-feature-meshpass.tgz' },
      },
    ]);
    expect(sha256(blob(layers[0]!.digest))).toBe(sha256(join(output, 'devcontainer-feature-meshpass.tgz')));
    const metadata = JSON.parse(annotations['dev.containers.metadata']!) as Record<string, unknown>;
    expect(metadata).toEqual(JSON.parse(readFileSync(join(output, 'meshpass/devcontainer-feature.json'), 'utf8')));
    expect(metadata).not.toHaveProperty('capAdd');
    expect(metadata).not.toHaveProperty('privileged');
  });

  it('is listed in a collection', () => {
    const { layers } = manifest('collection');
    expect(layers).toMatchObject([{ mediaType: 'application/vnd.devcontainers.collection.layer.v1+json' }]);
    const { features } = JSON.parse(readFileSync(blob(layers[0]!.digest), 'utf8')) as { features: { id: string }[] };
    expect(features.map(({ id }) => id)).toEqual(['meshpass']);
  });

  it('is not built without the archive of a processor', () => {
    const options = { archives: work, arches: ['x64'] as const, output: join(work, 'none') };
    expect(() => buildFeature(options)).toThrow('does not exist: build it first');
  });
});

describe('requirements of a program', () => {
  it('are an error for a file that is no program', () => {
    expect(() => needsOf(import.meta.filename)).toThrow('is not a 64-bit little-endian ELF file');
  });

  it('names glibc itself among its libraries', () => {
    expect(needsOf('/bin/true').libraries).toContain('libc.so.6');
  });
});
