/**
 * `node deploy/github-action/pin.ts VERSION SHA256SUMS`: pins the executables of a release in release.txt, whose commit is then what
 * workflows name (docs/releasing.md).
 */
import { readFileSync, writeFileSync } from 'node:fs';

const ARCHIVES = ['meshpass-linux-x64.tar.gz', 'meshpass-linux-arm64.tar.gz'];

/**
 * @param sums as `sha256sum` prints them
 * @returns the text of release.txt
 */
export function pinned(version: string, sums: string): string {
  if (!/^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/.test(version)) throw new Error(`${version} is not a valid version`);
  const lines = ARCHIVES.map((name) => {
    const [, sha256] = new RegExp(`^([0-9a-f]{64}) [ *]${name.replaceAll('.', '\\.')}$`, 'm').exec(sums) ?? [];
    if (sha256 === undefined) throw new Error(`The SHA-256 of ${name} is missing`);
    return `${sha256}  ${name}`;
  });
  return ['# The release that this commit of the action runs.', `version ${version}`, ...lines, ''].join('\n');
}

if (import.meta.main) {
  const [version = '', sums = ''] = process.argv.slice(2);
  writeFileSync(new URL('release.txt', import.meta.url), pinned(version, readFileSync(sums, 'utf8')));
}
