/**
 * A Kysely dialect for PGlite (PostgreSQL compiled to WebAssembly), which runs in its own thread (pglite-thread.ts). If
 * the thread dies, for example because the disk is full, its statements fail. The next statement starts a new thread,
 * which performs PostgreSQL's crash recovery.
 */
import { accessSync, constants, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { MeshpassError } from '@meshpass/identity';
import { PGliteDialect, type PGliteQueryResults } from 'kysely';
import { type KeyedMutex, runExclusive } from '../base/index.ts';
import type { EngineAnswer, EngineCommand, EngineReply } from './pglite-thread.ts';
import { type Step, UnexpectedRows } from './statement.ts';

/**
 * Opens PGlite and locks its directory.
 * @param dataDir the parent directory, which is created with mode 0700 if it does not exist
 * @param start starts the engine. Tests pass one that reuses engines
 * @throws MeshpassError `store_unavailable` if another process has the store open
 */
export function openPglite(dataDir: string, start: StartEngine = startThread) {
  const dir = join(dataDir, 'store');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const release = lockDirectory(dataDir);
  const engine = createEngine(dir, () => start(dir, pgliteThreadUrl(dataDir)));
  const query = async <T>(sql: string, parameters: readonly unknown[] = []) =>
    (await engine.send({ sql, parameters })).result as PGliteQueryResults<T>;
  return {
    /** Runs the steps in a single transaction. See `Store.commit`. */
    commit: async (steps: readonly Step[]) => {
      const { unexpected } = await engine.send({ steps });
      if (unexpected) throw new UnexpectedRows(steps[unexpected.index]!, unexpected.rows);
    },
    dialect: new PGliteDialect({
      pglite: {
        closed: false,
        ready: true,
        waitReady: Promise.resolve(),
        close: async () => {},
        query,
        // Kysely's transactions are only for callers that have the store to themselves: the migrations at startup, and
        // commands. All others use `commit`.
        transaction: async (work) => {
          await query('begin');
          try {
            const result = await work({ query, rollback: async () => void (await query('rollback')) });
            await query('commit');
            return result;
          } catch (thrown) {
            await query('rollback');
            throw thrown;
          }
        },
      },
    }),
    /** Closes the engine and unlocks the directory. */
    close: async () => {
      try {
        await engine.close();
      } finally {
        release();
      }
    },
  };
}

/** How long to wait for a response, in milliseconds, before the engine is considered dead. */
const PATIENCE_MS = 30_000;
/**
 * How long to wait for the first response, in milliseconds. This includes compilation and recovery, which took half a
 * minute on a busy machine.
 */
const START_PATIENCE_MS = 120_000;

function createEngine(dir: string, start: () => Engine) {
  const turns: KeyedMutex = new Map();
  let thread: Engine | undefined;
  let closed = false;
  return {
    send: (command: EngineCommand) =>
      runExclusive(turns, dir, async () => {
        // Another process may own the directory by now, so a closed engine must not start again.
        if (closed) throw new MeshpassError('store_unavailable', 'The embedded store has been closed.');
        if (thread && !thread.alive()) {
          // Wait until the old thread has exited, because two engines would corrupt the directory.
          await thread.ended;
          thread = undefined;
        }
        thread ??= start();
        return await thread.send(command);
      }),
    /** Closes the engine after the current command. Commands that are still waiting fail. */
    close: async () => {
      closed = true;
      await runExclusive(turns, dir, async () => {
        // Failing to close is no worse than a crash, because acknowledged writes are already on disk.
        if (thread?.alive()) await thread.send({ close: true }).catch(() => {});
        await thread?.end();
      });
    },
  };
}

/** A running engine, which processes one command at a time. */
export type Engine = ReturnType<typeof startThread>;

/** Starts an engine on a store's directory. */
export type StartEngine = (dir: string, file: URL) => Engine;

/** Starts an engine in its own thread. */
export function startThread(dir: string, file: URL) {
  const worker = new Worker(file, { workerData: { dir } });
  let waiting: PromiseWithResolvers<EngineAnswer> | undefined;
  let alive = true;
  let started = false;
  let cause: unknown;
  const end = async () => {
    alive = false;
    await worker.terminate();
  };
  worker.on('message', (reply: EngineReply) => {
    started = true;
    if (!('failure' in reply)) return waiting?.resolve(reply);
    waiting?.reject(Object.assign(new Error(reply.failure.message), reply.failure));
    // After a panic, the engine never responds again. The next engine recovers the data.
    if (reply.failure.fatal) void end();
  });
  worker.on('error', (error) => {
    alive = false;
    cause = error;
  });
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      alive = false;
      waiting?.reject(new Error('the embedded store exited', { cause }));
      resolve();
    });
  });
  return {
    alive: () => alive,
    ended,
    end,
    send: async (command: EngineCommand) => {
      waiting = Promise.withResolvers();
      const late = setTimeout(end, started ? PATIENCE_MS : START_PATIENCE_MS);
      worker.postMessage(command);
      try {
        return await waiting.promise;
      } finally {
        clearTimeout(late);
      }
    },
  };
}

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
function pgliteThreadUrl(dataDir: string): URL {
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

// Prevents two processes from using the same PGlite directory. PostgreSQL's own lock (postmaster.pid) cannot do this:
// under WebAssembly, every process believes that its process id is 42, so it mistakes another process's lock for a
// stale lock of its own.
// Node does not provide flock(2), so the lock is an SQLite database with an open exclusive transaction. The kernel
// releases it when the process ends. The lock only works between processes on the same machine. On Kubernetes, a
// ReadWriteOncePod volume and the `Recreate` strategy keep all other processes out.

const LOCK_FILE = 'meshpass-lock.sqlite';
/** SQLITE_BUSY, which is also the low byte of its extended result codes. */
const BUSY = 5;

/**
 * Locks the directory of the store.
 * @param dir the directory, which must exist
 * @returns a function that releases the lock
 * @throws MeshpassError `store_unavailable` if another live process holds the lock; file system and SQLite errors
 */
function lockDirectory(dir: string): () => void {
  const file = join(dir, LOCK_FILE);
  // Any user who can read the file could hold the lock, so only the owner may read it.
  if (!existsSync(file)) writeFileSync(file, '', { flag: 'a', mode: 0o600 });
  // SQLite silently opens an unwritable file as read-only, and the lock would then not keep other processes out.
  accessSync(file, constants.R_OK | constants.W_OK);
  const database = new DatabaseSync(file);
  try {
    database.exec('begin exclusive');
    return () => database.close();
  } catch (thrown) {
    database.close();
    if ((Number((thrown as { readonly errcode?: unknown }).errcode) & 0xff) !== BUSY) throw thrown;
    throw new MeshpassError('store_unavailable', 'Another broker is using this data directory.');
  }
}
