/** The npm packages that a bundle was made of. */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression. */
  readonly license: string;
  /** Digest of the archive on npm, in hexadecimal. */
  readonly sha512: string;
  /** Text of its licence; undefined if it has no licence file. */
  readonly licenceText: string | undefined;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MODULES = 'node_modules/';

/** @param modules their absolute paths; ours and those of the bundler are left out @returns sorted by name and version */
export function bundledPackages(modules: Iterable<string>): readonly BundledPackage[] {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly integrity?: string }>>;
  };
  const folders = new Set([...modules].flatMap((path) => folderOf(path) ?? []));
  const packages = [...folders].map((folder) => read(folder, lock.packages[relative(ROOT, folder)]?.integrity));
  const unique = new Map(packages.map((one) => [`${one.name} ${one.version}`, one]));
  return [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}

/** Notices of a bundle: name, licence and licence text of each package. */
export function licences(packages: readonly BundledPackage[]): string {
  const texts = packages.map(({ name, version, license, licenceText }) => {
    return `${name} ${version}, ${license}\n\n${licenceText ?? 'Its notices are in its files, which npm installs beside this package.\n'}`;
  });
  return texts.join('\n');
}

function folderOf(path: string): string | undefined {
  const at = path.lastIndexOf(MODULES);
  if (at < 0) return undefined;
  const start = at + MODULES.length;
  const [scope, name] = path.slice(start).split('/');
  return path.slice(0, start) + (scope!.startsWith('@') ? `${scope}/${name}` : scope!);
}

function read(folder: string, integrity: string | undefined): BundledPackage {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    readonly name: string;
    readonly version: string;
    readonly license: string;
  };
  if (!integrity?.startsWith('sha512-')) throw new Error(`package-lock.json has no SHA-512 of ${name} ${version}`);
  const sha512 = Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex');
  return { name, version, license, sha512, licenceText: licenceText(folder) };
}

function licenceText(folder: string): string | undefined {
  try {
    return readFileSync(join(folder, 'LICENSE'), 'utf8');
  } catch {
    return undefined;
  }
}
