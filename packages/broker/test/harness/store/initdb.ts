/**
 * Data directories that tests begin with: the files that PGlite's `initdb` writes, which takes four seconds of processor time, and the
 * same with the current schema. Each is made once and kept with the dependencies.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kysely, sql } from 'kysely';
import { migrate } from '../../../src/store/migrate.ts';
import { openPglite } from '../../../src/store/pglite.ts';
import type { Tables } from '../../../src/store/schema.ts';
import { FINGERPRINT } from './schema-fingerprint.ts';

const CACHE = fileURLToPath(new URL('../../../../../node_modules/.cache/meshpass-tests', import.meta.url));
const MADE_FROM = [
  fileURLToPath(new URL('../../../src/store/pglite-thread.ts', import.meta.url)),
  join(dirname(createRequire(import.meta.url).resolve('@electric-sql/pglite')), '../package.json'),
];
const SCHEMA_FILES = ['../../../src/store/schema.ts', '../../../src/store/migrate.ts', 'schema-fingerprint.ts'].map(
  (file) => fileURLToPath(new URL(file, import.meta.url)),
);

/** Fills an empty data directory, so that the next `openStore` on it skips `initdb`. @returns dataDir */
export async function afterInitdb(dataDir: string): Promise<string> {
  const store = join(dataDir, 'store');
  if (existsSync(store)) return dataDir;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  cpSync(join(await template(), 'store'), store, { recursive: true });
  return dataDir;
}

/** @returns a directory with a store that has the schema, and the schema's fingerprint in the file `fingerprint` */
export function migratedTemplate(): Promise<string> {
  migrated ??= kept('migrated', [...MADE_FROM, ...SCHEMA_FILES], async (work) => {
    await afterInitdb(work);
    const { dialect, close } = openPglite(work);
    const db = new Kysely<Tables>({ dialect });
    await migrate(db);
    const { rows } = await sql<{ schema: string }>`${sql.raw(FINGERPRINT)}`.execute(db);
    writeFileSync(join(work, 'fingerprint'), rows[0]!.schema);
    await close();
  });
  return migrated;
}

let migrated: Promise<string> | undefined;

function template(): Promise<string> {
  return kept('initdb', MADE_FROM, async (work) => {
    const { dialect, close } = openPglite(work);
    await sql`select 1`.execute(new Kysely({ dialect }));
    await close();
  });
}

/** Returns the directory that `make` filled, now or in an earlier run. @param from files whose content decides what it makes */
async function kept(name: string, from: readonly string[], make: (work: string) => Promise<void>): Promise<string> {
  const digest = createHash('sha256');
  for (const file of from) digest.update(readFileSync(file));
  const made = join(CACHE, `${name}-${digest.digest('hex').slice(0, 16)}`);
  if (existsSync(made)) return made;
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'work-'));
  await make(work);
  try {
    renameSync(work, made);
  } catch {
    rmSync(work, { recursive: true }); // another process was faster
  }
  return made;
}
