/**
 * A Kysely dialect for PGlite (PostgreSQL compiled to WebAssembly), which runs in its own thread (pglite-thread.ts). If
 * the thread dies, for example because the disk is full, its statements fail. The next statement starts a new thread,
 * which performs PostgreSQL's crash recovery.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PGliteAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from 'kysely';
import { lockDirectory } from './directory-lock.ts';
import { pgliteThreadUrl } from './pglite-files.ts';
import type { EngineCommand, EngineReply, EngineRequest } from './pglite-thread.ts';
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
  const turns = oneAfterAnother();
  return {
    /** Runs the steps in a single transaction. See `Store.commit`. */
    commit: async (steps: readonly Step[]) => {
      const done = await turns();
      const { unexpected } = await engine.send({ steps }).finally(done);
      if (unexpected) throw new UnexpectedRows(steps[unexpected.index]!, unexpected.rows);
    },
    dialect: {
      createAdapter: () => new PGliteAdapter(),
      createDriver: () => oneConnection(engine, turns),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    } satisfies Dialect,
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

type Engine = ReturnType<typeof createEngine>;
type EngineRows = Extract<EngineReply, { rows: unknown[] }>;

/** How long to wait for a response, in milliseconds, before the engine is considered dead. */
const PATIENCE_MS = 30_000;
/**
 * How long to wait for the first response, in milliseconds. This includes compilation and recovery, which took half a
 * minute on a busy machine.
 */
const START_PATIENCE_MS = 120_000;

function createEngine(dir: string, file: URL) {
  let thread: Thread | undefined;
  return {
    send: async (command: EngineCommand) => {
      if (thread && !thread.alive()) {
        // Wait until the old thread has exited, because two engines would corrupt the directory.
        await thread.ended;
        thread = undefined;
      }
      thread ??= startThread(dir, file);
      return await thread.send(command);
    },
    close: async () => {
      // Failing to close is no worse than a crash, because acknowledged writes are already on disk.
      if (thread?.alive()) await thread.send({ close: true }).catch(() => {});
      await thread?.end();
    },
  };
}

type Thread = ReturnType<typeof startThread>;

function startThread(dir: string, file: URL) {
  const worker = new Worker(file, { workerData: { dir } });
  const pending = new Map<number, PromiseWithResolvers<EngineRows>>();
  let next = 0;
  let alive = true;
  let started = false;
  let cause: unknown;
  const end = async () => {
    alive = false;
    await worker.terminate();
  };
  worker.on('message', (told: EngineReply) => {
    started = true;
    const waiting = pending.get(told.id);
    pending.delete(told.id);
    if ('rows' in told) return waiting?.resolve(told);
    waiting?.reject(Object.assign(new Error(told.failure.message), told.failure));
    // After a panic, the engine never responds again. The next engine recovers the data.
    if (told.failure.fatal) void end();
  });
  worker.on('error', (error) => {
    alive = false;
    cause = error;
  });
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      alive = false;
      for (const { reject } of pending.values()) reject(new Error('the embedded store exited', { cause }));
      pending.clear();
      resolve();
    });
  });
  return {
    alive: () => alive,
    ended,
    end,
    send: async (question: EngineCommand) => {
      const id = next++;
      const waiting = Promise.withResolvers<EngineRows>();
      pending.set(id, waiting);
      const late = setTimeout(end, started ? PATIENCE_MS : START_PATIENCE_MS);
      const message: EngineRequest = { id, ...question };
      worker.postMessage(message);
      try {
        return await waiting.promise;
      } finally {
        clearTimeout(late);
      }
    },
  };
}

/**
 * Serializes access to PGlite's single connection.
 * @returns a function that waits for its turn, and resolves to a function that ends it
 */
function oneAfterAnother(): () => Promise<() => void> {
  let turn = Promise.resolve();
  return async () => {
    const before = turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    turn = promise;
    await before;
    return resolve;
  };
}

/** Creates a driver with a single connection. A transaction keeps the connection until it ends. */
function oneConnection(engine: Engine, turns: () => Promise<() => void>): Driver {
  let free = () => {};
  const connection: DatabaseConnection = {
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      const { rows, affected } = await engine.send({ sql: query.sql, parameters: query.parameters });
      return { rows: rows as R[], ...(affected === undefined ? {} : { numAffectedRows: BigInt(affected) }) };
    },
    // biome-ignore lint/correctness/useYield: PGlite has no cursors
    async *streamQuery() {
      throw new Error('The embedded store does not support streaming.');
    },
  };
  const run = async (sql: string) => {
    await engine.send({ sql, parameters: [] });
  };
  return {
    init: async () => {},
    acquireConnection: async () => {
      free = await turns();
      return connection;
    },
    releaseConnection: async () => free(),
    beginTransaction: () => run('begin'),
    commitTransaction: () => run('commit'),
    rollbackTransaction: () => run('rollback'),
    destroy: async () => {},
  };
}
