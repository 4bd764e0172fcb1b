/** Where the code of PGlite's thread is. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { pathToFileURL } from 'node:url';

/** What a single executable carries for the thread: its code, bundled, and what PGlite reads beside it. */
export const ENGINE_FILES = ['pglite-thread.mjs', 'pglite.wasm', 'pglite.data', 'initdb.wasm'] as const;

/**
 * Beside this file, in the same form: TypeScript in the repository, JavaScript as published. A thread cannot run from within a
 * single executable, which therefore writes it to the data directory, anew at every start: what may have been changed there counts for nothing.
 * @param dataDir exists, and is the broker's own (mode 0700)
 */
export function threadFile(dataDir: string): URL {
  if (!isSea()) return new URL(`./pglite-thread${import.meta.url.slice(-3)}`, import.meta.url);
  const folder = join(dataDir, 'engine');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of ENGINE_FILES) {
    const path = join(folder, name);
    writeFileSync(`${path}.new`, new Uint8Array(getRawAsset(name)), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
  return pathToFileURL(join(folder, ENGINE_FILES[0]));
}
