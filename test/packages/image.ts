/** The container image, built, unpacked and run by tools that are not ours: skopeo, umoci and runc. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { aloneInDist } from '../../bench/executable.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const IMAGES = join(ROOT, 'dist/image');

/** Builds the images of these processors, with an environment and a umask that must make no difference. @param fresh uses no kept build */
export async function buildImage(
  archs = ['x64', 'arm64'],
  umask = '022',
  env: Readonly<Record<string, string>> = {},
  fresh = false,
): Promise<void> {
  const argv = [...archs.flatMap((arch) => ['--arch', arch]), ...(fresh ? ['--fresh'] : [])];
  const command = ['-c', `umask ${umask} && exec npm run --silent build:image -- "$@"`, 'sh', ...argv];
  await aloneInDist(() => promisify(execFile)('sh', command, { cwd: ROOT, env: { ...process.env, ...env } }));
}

/** Output of `build:image` for a processor, or for all. */
export function imageFile(suffix: string): string {
  return join(IMAGES, `meshpass-linux${suffix}`);
}

/** Unpacks as umoci does, whose bundle says how a container of the image is run. @returns folder of the bundle */
export function unpack(archive: string, version: string, folder: string): string {
  const layout = join(folder, 'layout');
  execFileSync('skopeo', ['copy', '--quiet', `oci-archive:${archive}:${version}`, `oci:${layout}:image`]);
  execFileSync('umoci', ['unpack', '--image', `${layout}:image`, join(folder, 'bundle')], { stdio: 'ignore' });
  return join(folder, 'bundle');
}

interface RuntimeConfig {
  readonly process: {
    readonly args: readonly string[];
    readonly user: { readonly uid: number; readonly gid: number };
    readonly cwd: string;
  };
  readonly root: object;
}

export function runtimeConfig(bundle: string): RuntimeConfig {
  return JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as RuntimeConfig;
}

/**
 * Runs a container as Kubernetes' restricted profile does: read-only root, no capabilities, no new privileges.
 * @param entrypoint instead of the image's own
 */
export function runContainer(bundle: string, argv: readonly string[], entrypoint?: string) {
  const config = runtimeConfig(bundle);
  const [program] = config.process.args;
  const none = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] };
  const restricted = {
    ...config,
    process: {
      ...config.process,
      terminal: false,
      args: [entrypoint ?? program!, ...argv],
      capabilities: none,
      noNewPrivileges: true,
    },
    root: { ...config.root, readonly: true },
  };
  const file = join(bundle, 'config.json');
  const before = readFileSync(file);
  writeFileSync(file, JSON.stringify(restricted));
  try {
    const name = `meshpass-image-test-${process.pid}`;
    return spawnSync('runc', ['--root', join(bundle, 'state'), 'run', '--bundle', bundle, name], { encoding: 'utf8' });
  } finally {
    writeFileSync(file, before);
  }
}
