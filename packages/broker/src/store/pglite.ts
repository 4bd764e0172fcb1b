/**
 * A Kysely dialect for PGlite (PostgreSQL compiled to WebAssembly), which runs in its own thread (pglite-thread.ts). If
 * the thread dies, for example because the disk is full, its statements fail. The next statement starts a new thread,
 * which performs PostgreSQL's crash recovery.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { PGliteDialect, type PGliteQueryResults } from 'kysely';
import { type KeyedMutex, runExclusive } from '../base/index.ts';
import { lockDirectory } from './directory-lock.ts';
import { pgliteThreadUrl } from './pglite-files.ts';
import type { EngineAnswer, EngineCommand, EngineReply } from './pglite-thread.ts';
import { type Step, UnexpectedRows } from './statement.ts';

/**
 * Opens PGlite and locks its directory.
 * @param dataDir the parent directory, which is created with mode 0700 if it does not exist
 * @throws MeshpassError `store_unavailable` if another process has the store open
 */
export function openPglite(dataDir: string) {
  const dir = join(dataDir, 'store');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const release = lockDirectory(dataDir);
  const engine = createEngine(dir, pgliteThreadUrl(dataDir));
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

function createEngine(dir: string, file: URL) {
  const turns: KeyedMutex = new Map();
  let thread: ReturnType<typeof startThread> | undefined;
  return {
    send: (command: EngineCommand) =>
      runExclusive(turns, dir, async () => {
        if (thread && !thread.alive()) {
          // Wait until the old thread has exited, because two engines would corrupt the directory.
          await thread.ended;
          thread = undefined;
        }
        thread ??= startThread(dir, file);
        return await thread.send(command);
      }),
    close: async () => {
      // Failing to close is no worse than a crash, because acknowledged writes are already on disk.
      if (thread?.alive()) await thread.send({ close: true }).catch(() => {});
      await thread?.end();
    },
  };
}

/** Starts a thread, which processes one command at a time. */
function startThread(dir: string, file: URL) {
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
