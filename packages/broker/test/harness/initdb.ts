/**
 * Files that PGlite's `initdb` writes into an empty directory. `initdb` takes four seconds of processor time and writes the same each
 * time, so it runs once; the files are kept beside the dependencies and copied into the data directories of tests.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kysely, sql } from 'kysely';
import { openPglite } from '../../src/store/pglite.ts';

const CACHE = fileURLToPath(new URL('../../../../node_modules/.cache/meshpass-tests', import.meta.url));
const MADE_FROM = [
  fileURLToPath(new URL('../../src/store/pglite-thread.ts', import.meta.url)),
  join(dirname(createRequire(import.meta.url).resolve('@electric-sql/pglite')), '../package.json'),
];

/** Fills an empty data directory, so that the next `openStore` on it skips `initdb`. @returns dataDir */
export async function afterInitdb(dataDir: string): Promise<string> {
  const store = join(dataDir, 'store');
  if (existsSync(store)) return dataDir;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  cpSync(join(await template(), 'store'), store, { recursive: true });
  return dataDir;
}

async function template(): Promise<string> {
  const digest = createHash('sha256');
  for (const file of MADE_FROM) digest.update(readFileSync(file));
  const made = join(CACHE, `initdb-${digest.digest('hex').slice(0, 16)}`);
  if (existsSync(made)) return made;
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'work-'));
  const { dialect, close } = openPglite(work);
  await sql`select 1`.execute(new Kysely({ dialect }));
  await close();
  try {
    renameSync(work, made);
  } catch {
    rmSync(work, { recursive: true }); // another process was faster
  }
  return made;
}
