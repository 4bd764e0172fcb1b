/**
 * Embedded stores for tests that are not about the engine's own life. Starting PGlite and creating the schema takes 0.4 s of processor
 * time, so the engines of ended stores are emptied and used again. Statements, transactions and the directory's lock are the product's.
 * Tests of crashes, recovery and migration open their store without `startEngine`.
 *
 *     const store = await openStore(await reusedStore(dataDir));
 *     await store.close();
 *     await releaseStore(dataDir); // its data is gone
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { StoreOptions } from '../../../src/store/open.ts';
import { type Engine, type StartEngine, startThread } from '../../../src/store/pglite.ts';
import { migratedTemplate } from './initdb.ts';
import { FINGERPRINT } from './schema-fingerprint.ts';

/** An engine, and the directory that it runs on. */
interface Place {
  readonly dir: string;
  engine: Engine;
}

/** Memory where it is a large enough file system (containers often have 64 MB), because these stores need not survive anything. */
const FOLDER = freeBytes('/dev/shm') > 1e9 ? '/dev/shm' : tmpdir();
const PREFIX = 'meshpass-engine-';
/** Maximum delay of each answer, ms: `npm run stress` sets it to find tests that assume a fast store. */
const DELAY_MS = Number(process.env.MESHPASS_TEST_STORE_DELAY_MS ?? 0);

/** Statements that leave the rows of a new schema. Triggers would keep the audit log from being emptied. */
const EMPTY = [
  'set session_replication_role = replica',
  `do $$ declare names text; begin
    select string_agg(quote_ident(tablename), ',') into names from pg_tables
      where schemaname = 'public' and tablename not like 'kysely_%';
    execute 'truncate ' || names;
  end $$`,
  'insert into broker_epoch values (true, 0)',
  'reset all',
];

const idle: Place[] = [];
/** Places by the directory of their store, as the product sees it. */
const used = new Map<string, Place>();

/** Returns the options that open a store on an engine that other stores used before. Repeated calls lead to the same data. */
export async function reusedStore(dataDir: string): Promise<Pick<StoreOptions, 'dataDir' | 'startEngine'>> {
  const template = await migratedTemplate();
  const startEngine: StartEngine = (dir, file) => {
    let place = used.get(dir) ?? idle.pop();
    if (!place) {
      const own = newDirectory(template);
      place = { dir: own, engine: startThread(own, file) };
    } else if (!place.engine.alive()) place.engine = startThread(place.dir, file);
    used.set(dir, place);
    return lastingEngine(place.engine);
  };
  return { dataDir, startEngine };
}

/** Returns the options that open the store of a directory again, on whatever engine it was opened before. */
export function openedBefore(dataDir: string): Promise<Pick<StoreOptions, 'dataDir' | 'startEngine'>> {
  return used.has(join(dataDir, 'store')) ? reusedStore(dataDir) : Promise.resolve({ dataDir });
}

/** Empties the engine of a closed store for the next one. */
export async function releaseStore(dataDir: string): Promise<void> {
  const dir = join(dataDir, 'store');
  const place = used.get(dir);
  if (!place) return;
  used.delete(dir);
  const isEmpty = await empty(place.engine).catch(() => false);
  if (isEmpty) return void idle.push(place);
  // A test has changed the schema, or the engine has died.
  await place.engine.end();
  rmSync(place.dir, { recursive: true, force: true });
}

/** Returns the engine without its end. */
function lastingEngine(engine: Engine): Engine {
  return {
    ...engine,
    end: async () => {},
    send: async (command) => {
      if ('close' in command) return {};
      const answer = engine.send(command);
      if (DELAY_MS > 0) await Promise.allSettled([answer, pause(Math.random() * DELAY_MS)]);
      return await answer;
    },
  };
}

async function empty(engine: Engine): Promise<boolean> {
  for (const sql of EMPTY) await engine.send({ sql, parameters: [] });
  const { result } = await engine.send({ sql: FINGERPRINT, parameters: [] });
  const { schema } = result!.rows[0] as { schema: string };
  return schema === readFileSync(join(await migratedTemplate(), 'fingerprint'), 'utf8');
}

let isCleanedAtExit = false;

/** Copies the template. The first call removes what killed processes left, and removes all directories when this process ends. */
function newDirectory(template: string): string {
  if (!isCleanedAtExit) {
    isCleanedAtExit = true;
    removeDirectories((pid) => !isAlive(pid));
    process.on('exit', () => removeDirectories((pid) => pid === process.pid));
  }
  const dir = mkdtempSync(join(FOLDER, `${PREFIX}${process.pid}-`));
  cpSync(join(template, 'store'), dir, { recursive: true });
  return dir;
}

function removeDirectories(ofProcess: (pid: number) => boolean): void {
  for (const name of readdirSync(FOLDER)) {
    if (!name.startsWith(PREFIX) || !ofProcess(Number(name.slice(PREFIX.length).split('-')[0]))) continue;
    try {
      rmSync(join(FOLDER, name), { recursive: true, force: true });
    } catch {
      // It belongs to another user, or another process removes it.
    }
  }
}

function freeBytes(folder: string): number {
  if (!existsSync(folder)) return 0;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}
