/** Extracts the example that a page tells its readers to apply. */
import { readFileSync } from 'node:fs';

/** @returns the first block of YAML of a page. @param page path from the root of the repository */
export function exampleOf(page: string): string {
  const text = readFileSync(new URL(`../../${page}`, import.meta.url), 'utf8');
  const found = /```yaml\n([\s\S]*?)```/.exec(text)?.[1];
  if (found === undefined) throw new Error(`${page} has no example`);
  return found;
}
