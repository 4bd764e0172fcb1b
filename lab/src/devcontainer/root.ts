/** File systems of images, for dev containers: clean Debian roots, made once by debootstrap. */
import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ensureCommand } from '../install/debian.ts';
import { fillOnce } from '../install/once.ts';
import { must, type RunResult, run } from '../run.ts';

export type DebianRelease = 'bookworm' | 'trixie';

/** User of the dev container (`remoteUser`), who has no rights of root and no sudo. */
export const REMOTE_USER = { name: 'vscode', uid: 1000, home: '/home/vscode' } as const;

export const ROOT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const MIRROR = 'http://deb.debian.org/debian';
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'meshpass', 'lab', 'roots');

/** Mounts like `docker run`. Arguments: the root, and what to run in it. */
const MOUNTS = 'mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; root=$1; shift; exec "$@" || exit 127';

/**
 * A root of its own: a copy of the cached one, with the remote user.
 * @param root target folder, whose content is removed
 */
export async function copyDebianRoot(
  release: DebianRelease,
  root: string,
  progress: (line: string) => void = () => {},
): Promise<void> {
  const cached = join(CACHE, release);
  await ensureCommand('debootstrap', progress);
  await fillOnce(cached, (work) => bootstrap(release, work, progress), progress);
  rmSync(root, { recursive: true, force: true });
  await must(['cp', '--archive', '--reflink=auto', cached, root], 'lab_install');
}

async function bootstrap(release: DebianRelease, work: string, progress: (line: string) => void): Promise<string> {
  progress(`making a root of Debian ${release}`);
  await must(['debootstrap', '--variant=minbase', release, work, MIRROR], 'lab_install');
  chmodSync(work, 0o755);
  const { name, uid } = REMOTE_USER;
  await must(
    ['chroot', work, 'useradd', '--create-home', '--uid', String(uid), '--shell', '/bin/sh', name],
    'lab_install',
  );
  rmSync(join(work, 'var/cache/apt'), { recursive: true, force: true });
  mkdirSync(join(work, 'var/cache/apt/archives/partial'), { recursive: true });
  return work;
}

/** The command line that runs `argv` in a root with process ids and mounts of its own, `within` for the last step into it. */
export function inRoot(root: string, argv: readonly string[], within: readonly string[] = []): readonly string[] {
  const isolated = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--'];
  return [...isolated, 'sh', '-c', MOUNTS, 'sh', root, ...within, 'chroot', root, ...argv];
}

/**
 * Runs install.sh of a Feature as tools for dev containers do while they build an image: as root, its options as environment.
 * @param feature folder of the Feature
 */
export async function installFeature(
  root: string,
  feature: string,
  options: Readonly<Record<string, string>>,
): Promise<RunResult> {
  const inside = '/tmp/build-features/meshpass_0';
  rmSync(join(root, inside), { recursive: true, force: true });
  cpSync(feature, join(root, inside), { recursive: true });
  if (existsSync('/etc/resolv.conf')) cpSync('/etc/resolv.conf', join(root, 'etc/resolv.conf'), { dereference: true });
  const env = {
    PATH: ROOT_PATH,
    HOME: '/root',
    _REMOTE_USER: REMOTE_USER.name,
    _REMOTE_USER_HOME: REMOTE_USER.home,
    _CONTAINER_USER: 'root',
    _CONTAINER_USER_HOME: '/root',
    ...options,
  };
  const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const result = await run(inRoot(root, ['/usr/bin/env', '-i', ...words, `${inside}/install.sh`]));
  rmSync(join(root, inside), { recursive: true, force: true });
  writeFileSync(join(root, 'etc/resolv.conf'), '');
  return result;
}
