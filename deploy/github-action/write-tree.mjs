/**
 * Writes the files of a commit byte for byte. A checkout would decode and filter them as .gitattributes of the working directory say,
 * which a pull request can change.
 *   node write-tree.mjs COMMIT FOLDER
 * Submodules, and links that lead out of the folder, become links to nothing.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';

const NOTHING = '/dev/null/not-compared';
const OBJECTS_AT_ONCE = 200;

const [commit, folder] = process.argv.slice(2);
const root = realpathSync(folder);
const entries = git(['ls-tree', '-r', '-z', '--full-tree', commit])
  .toString()
  .split('\0')
  .filter((line) => line !== '')
  .map((line) => {
    const [, mode, id, path] = /^(\d+) \w+ ([0-9a-f]+)\t(.+)$/s.exec(line) ?? [];
    if (!path || path.split('/').some((part) => /^(|\.|\.\.|\.git)$/i.test(part)))
      throw new Error(`The tree contains an invalid path: ${line}`);
    return { mode, id, file: join(root, path) };
  });
const of = (...modes) => entries.filter(({ mode }) => modes.includes(mode));

for (const [{ file }, content] of contents(of('100644', '100755', '100664'))) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content, { flag: 'wx' });
}
// After all files, so that none is written through a link.
const links = [...contents(of('120000'))].map(([{ file }, target]) => ({ file, target }));
for (const { file, target } of links) link(file, target);
for (const { file } of links.filter(leadsOut)) {
  rmSync(file);
  link(file, NOTHING);
}
for (const { file } of of('160000')) link(file, NOTHING);

function link(file, target) {
  mkdirSync(dirname(file), { recursive: true });
  symlinkSync(target, file);
}

function leadsOut({ file }) {
  try {
    return !realpathSync(file).startsWith(root + sep);
  } catch {
    return true;
  }
}

function* contents(blobs) {
  for (let at = 0; at < blobs.length; at += OBJECTS_AT_ONCE) {
    const some = blobs.slice(at, at + OBJECTS_AT_ONCE);
    const output = git(['cat-file', '--batch'], some.map(({ id }) => `${id}\n`).join(''));
    let start = 0;
    for (const blob of some) {
      const end = output.indexOf('\n', start);
      const [, size] = / blob (\d+)$/.exec(output.toString('latin1', start, end)) ?? [];
      if (size === undefined) throw new Error(`The object ${blob.id} cannot be read.`);
      start = end + 1 + Number(size) + 1;
      yield [blob, output.subarray(end + 1, start - 1)];
    }
  }
}

function git(argv, input = '') {
  return execFileSync('git', argv, { input, maxBuffer: Number.POSITIVE_INFINITY, stdio: ['pipe', 'pipe', 'inherit'] });
}
