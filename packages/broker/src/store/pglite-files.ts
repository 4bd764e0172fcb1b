/** Locates the PGlite thread's code. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { pathToFileURL } from 'node:url';

/**
 * The files that the thread needs when it runs from a single executable: its bundled code, and the files that PGlite
 * loads from the same directory.
 */
export const ENGINE_FILES = ['pglite-thread.mjs', 'pglite.wasm', 'pglite.data', 'initdb.wasm'] as const;

/**
 * Returns the location of the thread's code. It is in the same directory as this file and has the same extension:
 * TypeScript in the repository, JavaScript in the package. A thread cannot run from inside a single executable, so the
 * executable writes the code to the data directory at every start, overwriting existing files.
 * @param dataDir an existing directory that only the broker can access (mode 0700)
 */
export function pgliteThreadUrl(dataDir: string): URL {
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
