/** The Node.js binaries that executables are made of. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const DIGESTS = new URL('../../lab/node.sha256', import.meta.url);

/**
 * Path of a Node.js for Linux on that processor, of the version that runs: the one that runs, or one that npm fetches into `folder`.
 * Either must have the SHA-256 in lab/node.sha256.
 * @param arch as Node.js names it: `x64`, `arm64`
 * @throws Error for a processor without a digest there, and for another binary
 */
export function nodeFor(arch: string, folder: string): string {
  const platform = `linux-${arch}`;
  const expected = readFileSync(DIGESTS, 'utf8')
    .split('\n')
    .find((line) => line.endsWith(`  ${platform}`))
    ?.slice(0, 64);
  if (!expected) throw new Error(`lab/node.sha256 has no digest of Node.js for ${platform}`);
  const here = process.platform === 'linux' && arch === process.arch;
  const node = here ? process.execPath : fetchNode(platform, folder);
  const digest = createHash('sha256').update(readFileSync(node)).digest('hex');
  if (digest !== expected)
    throw new Error(
      `Node.js ${process.versions.node} for ${platform} has the SHA-256 ${digest}, but ${expected} is pinned`,
    );
  return node;
}

function fetchNode(platform: string, folder: string): string {
  const name = `node-${platform}@${process.versions.node}`;
  const [file] = execFileSync('npm', ['pack', '--silent', name], { cwd: folder, encoding: 'utf8' }).split('\n');
  execFileSync('tar', ['xzf', file!, 'package/bin/node'], { cwd: folder });
  return join(folder, 'package/bin/node');
}
