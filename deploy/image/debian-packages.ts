/** Debian packages by their pinned SHA-256 (debian.sha256): downloaded once, and unpacked without dpkg's scripts. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** `amd64`, `arm64` or `all`. */
  readonly architecture: string;
  /** SHA-256 of the package file. */
  readonly sha256: string;
  /** Entry of dpkg's status: the control file, without the state of an installation. */
  readonly control: string;
  /** Folder with its files. */
  readonly files: string;
}

const PINS = new URL('debian.sha256', import.meta.url);
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'meshpass', 'image');
/** Comes with apt: it honours the machine's configuration of apt, and needs no list of packages. */
const DOWNLOAD = '/usr/lib/apt/apt-helper';

/**
 * Downloads the pinned packages for that processor, from the mirrors of apt's configuration, or from Debian's snapshot archive.
 * @param architecture as Debian names it
 * @param work empty folder to unpack into
 * @param pins file of SHA-256 and path of each package
 * @throws Error if a package is nowhere to be had with its SHA-256
 */
export function debianPackages(
  architecture: 'amd64' | 'arm64',
  work: string,
  pins: URL = PINS,
): readonly DebianPackage[] {
  const text = readFileSync(pins, 'utf8');
  const lines = text.split('\n').filter((line) => /^[0-9a-f]{64} {2}/.test(line));
  const [, time] = /snapshot archive of this time: (\w+)/.exec(text)!;
  const wanted = lines.filter((line) => line.endsWith(`_${architecture}.deb`) || line.endsWith('_all.deb'));
  return wanted.map((line) => {
    const [sha256, path] = line.split('  ') as [string, string];
    const file = download(sha256, path, time!);
    const field = (name: string) => execFileSync('dpkg-deb', ['--field', file, name], { encoding: 'utf8' }).trim();
    const name = field('Package');
    const files = join(work, name);
    execFileSync('dpkg-deb', ['--extract', file, files]);
    const control = execFileSync('dpkg-deb', ['--field', file], { encoding: 'utf8' });
    return { name, version: field('Version'), architecture: field('Architecture'), sha256, control, files };
  });
}

function download(sha256: string, path: string, time: string): string {
  const file = join(CACHE, sha256, basename(path));
  if (existsSync(file) && digestOf(file) === sha256) return file;
  mkdirSync(join(CACHE, sha256), { recursive: true });
  const partial = `${file}.${process.pid}`;
  try {
    const failed = sources(time).every((source) => !downloaded(`${source}${path}`, partial, sha256));
    if (failed) throw new Error(`No mirror has ${path} with the SHA-256 ${sha256}`);
    renameSync(partial, file);
  } finally {
    rmSync(partial, { force: true });
  }
  return file;
}

function downloaded(url: string, file: string, sha256: string): boolean {
  try {
    execFileSync(DOWNLOAD, ['download-file', url, file, `SHA256:${sha256}`], { stdio: 'ignore' });
    return digestOf(file) === sha256;
  } catch {
    return false;
  }
}

/** @param time of the snapshot archive */
function sources(time: string): readonly string[] {
  const mirrors = execFileSync('apt-get', ['indextargets', '--format', '$(REPO_URI)'], { encoding: 'utf8' });
  const debian = mirrors.split('\n').filter((uri) => /\/debian\/?$/.test(uri));
  return [...new Set(debian), `https://snapshot.debian.org/archive/debian/${time}/`];
}

function digestOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
