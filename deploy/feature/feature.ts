/** The devcontainer Feature with a release written into it, in the forms that registries and tools expect. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { needsOf } from './elf.ts';
import { type Metadata, writeArtefacts } from './oci-artefacts.ts';

export type FeatureArch = 'x64' | 'arm64';

export interface FeatureOptions {
  /** Folder with `meshpass-linux-ARCH.tar.gz`, as a release contains them. */
  readonly archives: string;
  /** Processors that must have one. */
  readonly arches: readonly FeatureArch[];
  /** Replaced by: `meshpass/` (the folder of the Feature), its `.tgz`, `devcontainer-collection.json`, and `oci/`, a layout with both. */
  readonly output: string;
}

/** Values of one processor in install.sh. */
interface Release {
  readonly sha256: string;
  readonly glibc: string;
  readonly libraries: readonly string[];
}

const SOURCE = fileURLToPath(new URL('./src/meshpass', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../packages/cli/package.json', import.meta.url));
/** Part of glibc itself, whose version is checked. */
const OF_GLIBC = /^(?:lib(?:c|m|dl|rt|pthread)\.so\.|ld-linux-)/;
const STABLE_TAR = ['--format=ustar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];

/**
 * @returns the oldest glibc that each processor's programs run with
 * @throws Error if an archive is missing, or the versions of Feature and packages differ
 */
export function buildFeature({ archives, arches, output }: FeatureOptions): Readonly<Record<string, string>> {
  const metadata = readMetadata();
  const releases = new Map(arches.map((arch) => [arch, readRelease(archives, arch)]));
  rmSync(output, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  const folder = join(output, metadata.id);
  cpSync(SOURCE, folder, { recursive: true });
  const install = join(folder, 'install.sh');
  writeFileSync(install, withReleases(readFileSync(install, 'utf8'), metadata.version, releases));
  // Named .tgz and not compressed, as the reference implementation (devcontainers/cli) does: the media type is a tar's.
  const archive = join(output, `devcontainer-feature-${metadata.id}.tgz`);
  const modes = '--mode=u=rwX,go=rX';
  execFileSync('tar', ['--create', '--file', archive, '--directory', folder, ...STABLE_TAR, modes, '.']);
  const collection = join(output, 'devcontainer-collection.json');
  const sourceInformation = { source: 'meshpass', owner: 'meshpass', repo: 'meshpass', tag: `v${metadata.version}` };
  writeFileSync(collection, `${JSON.stringify({ sourceInformation, features: [metadata] }, null, 2)}\n`);
  writeArtefacts(join(output, 'oci'), metadata, archive, collection);
  return Object.fromEntries([...releases].map(([arch, { glibc }]) => [arch, glibc]));
}

function readMetadata(): Metadata {
  const metadata = JSON.parse(readFileSync(join(SOURCE, 'devcontainer-feature.json'), 'utf8')) as Metadata & {
    readonly options: { readonly version: { readonly default: string } };
  };
  const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { readonly version: string };
  if (metadata.version !== version || metadata.options.version.default !== version)
    throw new Error(`devcontainer-feature.json must have version ${version}, and so must its option "version"`);
  return metadata;
}

function readRelease(archives: string, arch: FeatureArch): Release {
  const archive = join(archives, `meshpass-linux-${arch}.tar.gz`);
  if (!existsSync(archive)) throw new Error(`${archive} does not exist: build it first (docs/releasing.md)`);
  const work = mkdtempSync(join(tmpdir(), 'meshpass-feature-'));
  try {
    execFileSync('tar', ['-xzf', archive, '-C', work, '--strip-components=1']);
    const needs = ['meshpass', 'envoy'].map((program) => needsOf(join(work, program)));
    const glibc = needs.map((one) => one.glibc).reduce((a, b) => (minor(a) >= minor(b) ? a : b));
    const libraries = needs.flatMap((one) => one.libraries).filter((name) => !OF_GLIBC.test(name));
    return { sha256: createHash('sha256').update(readFileSync(archive)).digest('hex'), glibc, libraries };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function minor(glibc: string): number {
  return Number(glibc.slice('2.'.length));
}

function withReleases(script: string, version: string, releases: ReadonlyMap<FeatureArch, Release>): string {
  const written: Record<string, string> = {
    RELEASE: version,
    LIBRARIES: [...new Set([...releases.values()].flatMap(({ libraries }) => libraries))].sort().join(' '),
  };
  for (const arch of ['x64', 'arm64'] as const) {
    written[`SHA256_${arch.toUpperCase()}`] = releases.get(arch)?.sha256 ?? '';
    written[`GLIBC_${arch.toUpperCase()}`] = releases.get(arch)?.glibc ?? '';
  }
  return script.replaceAll(/@([A-Z0-9_]+)@/g, (whole, name: string) => written[name] ?? whole);
}
