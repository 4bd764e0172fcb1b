/** Unified diff of one change in one file, as `git apply` accepts it. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';

const CONTEXT = 3;

/**
 * Formats the diff.
 * @param name path from the repository's root, with slashes
 */
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
  // git appends a tab to a name that contains spaces.
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

/** Splits a text into lines with their line endings. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** Returns a file's path relative to its repository's root, or its base name outside a repository. */
export function nameInRepository(path: string): string {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if (existsSync(join(directory, '.git'))) return relative(directory, path).split(sep).join('/');
    if (dirname(directory) === directory) return basename(path);
  }
}
