/** Contents of the image: two folders, one per layer, and the package of each file. */
import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BundledPackage, licences } from '../npm/bundled-packages.ts';
import type { DebianPackage } from './debian-packages.ts';
import type { OciArchitecture } from './oci.ts';

/** Number of the user and of its group: what "nonroot" is in other images. */
export const USER = 65532;
export const EXECUTABLE = 'usr/local/bin/meshpass';
/** The only folder that the user may write to. */
export const DATA = 'var/lib/meshpass';
export const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt';
/** Owner, in `files`, of what no Debian package has. */
export const OURS = 'meshpass';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TRIPLET: Readonly<Record<OciArchitecture, string>> = {
  amd64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
};

const ACCOUNTS = {
  'etc/passwd': `root:x:0:0:root:/nonexistent:/nonexistent\nmeshpass:x:${USER}:${USER}:Meshpass:/${DATA}:/nonexistent\n`,
  'etc/group': `root:x:0:\nmeshpass:x:${USER}:\n`,
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

/** Files of each package, by its name; TRIPLET is the processor's folder of libraries. Their copyright files are added. */
const TAKEN: Readonly<Record<string, readonly string[]>> = {
  'base-files': ['usr/lib/os-release', 'etc/os-release', 'etc/debian_version', 'lib*', 'usr/share/common-licenses'],
  'ca-certificates': [],
  'gcc-14-base': [],
  libatomic1: ['usr/lib/TRIPLET/libatomic.so.1*'],
  'libgcc-s1': ['usr/lib/TRIPLET/libgcc_s.so.1'],
  'libstdc++6': ['usr/lib/TRIPLET/libstdc++.so.6*'],
  libc6: [
    ...['c.so.6', 'm.so.6', 'dl.so.2', 'pthread.so.0'].map((name) => `usr/lib/TRIPLET/lib${name}`),
    'usr/lib/TRIPLET/ld-linux-*',
    'usr/{lib,lib64}/ld-linux-*',
  ],
};

/** Path in the image, without a leading slash, to the name of its package. */
export type Files = ReadonlyMap<string, string>;

/** Writes what changes seldom: libraries, certificate authorities, accounts. */
export function writeBase(root: string, packages: readonly DebianPackage[], architecture: OciArchitecture): Files {
  const files = new Map<string, string>();
  for (const { name, files: folder, control } of packages) {
    const taken = TAKEN[name];
    if (!taken) throw new Error(`deploy/image/contents.ts does not list the files of ${name}`);
    const patterns = taken.map((path) => path.replace('TRIPLET', TRIPLET[architecture]));
    for (const pattern of patterns)
      if (globSync(pattern, { cwd: folder }).length === 0) throw new Error(`${name} has no ${pattern}`);
    const copyright = [`usr/share/doc/${name}`, `usr/share/doc/${name}/copyright`];
    for (const path of leaves(folder, [...patterns, ...copyright])) {
      mkdirSync(join(root, dirname(path)), { recursive: true });
      execFileSync('cp', ['--no-dereference', '--preserve=mode', join(folder, path), join(root, path)]);
      files.set(path, name);
    }
    // Scanners read the packages of an image without dpkg from here.
    write(root, `var/lib/dpkg/status.d/${name}`, control);
    files.set(`var/lib/dpkg/status.d/${name}`, name);
    if (name === 'ca-certificates') {
      write(root, CERTIFICATES, authorities(folder));
      files.set(CERTIFICATES, name);
    }
  }
  for (const [path, text] of Object.entries(ACCOUNTS)) {
    write(root, path, text);
    files.set(path, OURS);
  }
  return files;
}

/** Writes the executable, its licences and the folder for its data. */
export function writeProgram(root: string, executable: string, bundled: readonly BundledPackage[]): Files {
  mkdirSync(join(root, dirname(EXECUTABLE)), { recursive: true });
  execFileSync('install', ['--mode=0755', executable, join(root, EXECUTABLE)]);
  mkdirSync(join(root, DATA), { recursive: true });
  const node = readFileSync(
    join(ROOT, 'node_modules/node/node_modules', `node-${process.platform}-${process.arch}`, 'LICENSE'),
    'utf8',
  );
  const texts = {
    'usr/share/doc/meshpass/LICENSE': readFileSync(join(ROOT, 'LICENSE'), 'utf8'),
    'usr/share/doc/meshpass/LICENSE.node': node,
    'usr/share/doc/meshpass/LICENSES.npm': licences(bundled),
  };
  for (const [path, text] of Object.entries(texts)) write(root, path, text);
  return new Map([EXECUTABLE, ...Object.keys(texts)].map((path) => [path, OURS]));
}

/** Files and symbolic links that the patterns name, directly or as a folder of plain files. */
function leaves(folder: string, patterns: readonly string[]): readonly string[] {
  const entries = globSync(patterns as string[], { cwd: folder, withFileTypes: true });
  const paths = entries.flatMap((entry) => {
    const path = join(entry.parentPath, entry.name).slice(folder.length + 1);
    if (!entry.isDirectory()) return [path];
    return path.startsWith('usr/share/doc/') ? [] : globSync(`${path}/*`, { cwd: folder });
  });
  return [...new Set(paths)].sort();
}

/** Output of `update-ca-certificates` : all that Debian trusts, in the order of their names. */
function authorities(folder: string): string {
  const names = globSync('usr/share/ca-certificates/mozilla/*.crt', { cwd: folder }).sort();
  return names.map((name) => `${readFileSync(join(folder, name), 'utf8').trim()}\n`).join('');
}

function write(root: string, path: string, text: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
