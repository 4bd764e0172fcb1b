/** One change of one file as a unified diff, as `git apply` takes it. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';

const CONTEXT = 3;

/** @param name with slashes, from the top of the repository */
export function unifiedDiff(name: string, before: string, after: string): string {
  const [old, fresh] = [linesOf(before), linesOf(after)];
  let same = 0;
  while (same < old.length && same < fresh.length && old[same] === fresh[same]) same += 1;
  let tail = 0;
  while (tail < old.length - same && tail < fresh.length - same && old.at(-1 - tail) === fresh.at(-1 - tail)) tail += 1;
  const from = Math.max(0, same - CONTEXT);
  const behind = Math.min(tail, CONTEXT);
  const removed = old.slice(same, old.length - tail);
  const added = fresh.slice(same, fresh.length - tail);
  const above = old.slice(from, same);
  const below = old.slice(old.length - tail, old.length - tail + behind);
  const range = (changed: number) => `${from + 1},${above.length + changed + below.length}`;
  const marked = (mark: string, lines: readonly string[]) =>
    lines.map((line) => (line.endsWith('\n') ? `${mark}${line}` : `${mark}${line}\n\\ No newline at end of file\n`));
  // A name with a space ends with a tab, as git writes it.
  const shown = name.includes(' ') ? `${name}\t` : name;
  return [
    `--- a/${shown}\n`,
    `+++ b/${shown}\n`,
    `@@ -${range(removed.length)} +${range(added.length)} @@\n`,
    ...marked(' ', above),
    ...marked('-', removed),
    ...marked('+', added),
    ...marked(' ', below),
  ].join('');
}

/** With their ends. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** The file's name as a patch names it: from the top of its git repository, or of its directory where it is in none. */
export function nameInRepository(path: string): string {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if (existsSync(join(directory, '.git'))) return relative(directory, path).split(sep).join('/');
    if (dirname(directory) === directory) return basename(path);
  }
}
