/**
 * PGlite (PostgreSQL as WebAssembly) as a Kysely dialect, in a thread of its own (pglite-thread.ts). A thread that dies, say of
 * a full disk, fails the statements it had; the next statement starts another one, which recovers as PostgreSQL does.
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
import { threadFile } from './pglite-files.ts';
import type { EngineReply, EngineRequest } from './pglite-thread.ts';

export interface EmbeddedStore {
  readonly dialect: Dialect;
  /** Closes the engine and releases the directory. */
  readonly close: () => Promise<void>;
}

/**
 * @param dataDir parent directory, made with mode 0700 where missing
 * @throws MeshpassError `store_unavailable` when another process has it open
 */
export function openPglite(dataDir: string): EmbeddedStore {
  const dir = join(dataDir, 'store');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const release = lockDirectory(dataDir);
  const engine = createEngine(dir, threadFile(dataDir));
  return {
    dialect: {
      createAdapter: () => new PGliteAdapter(),
      createDriver: () => oneConnection(engine),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
    close: async () => {
      try {
        await engine.close();
      } finally {
        release();
      }
    },
  };
}

interface Engine {
  readonly query: (sql: string, parameters: readonly unknown[]) => Promise<EngineRows>;
  readonly close: () => Promise<void>;
}
type EngineRows = Extract<EngineReply, { rows: unknown[] }>;

/** An engine that has not answered by then never will. */
const PATIENCE_MS = 30_000;
/** The first answer includes compiling the engine, and recovering: on a busy machine that alone has taken half a minute. */
const START_PATIENCE_MS = 120_000;

function createEngine(dir: string, file: URL): Engine {
  let thread: Thread | undefined;
  return {
    query: async (sql, parameters) => {
      if (thread && !thread.alive()) {
        // Two engines in one directory would destroy it.
        await thread.ended;
        thread = undefined;
      }
      thread ??= startThread(dir, file);
      return await thread.send({ sql, parameters });
    },
    close: async () => {
      // An engine that cannot close is left as after a crash: what was acknowledged is on the disk.
      if (thread?.alive()) await thread.send({ close: true }).catch(() => {});
      await thread?.end();
    },
  };
}

type EngineCommand = { readonly sql: string; readonly parameters: readonly unknown[] } | { readonly close: true };

interface Thread {
  readonly send: (question: EngineCommand) => Promise<EngineRows>;
  readonly alive: () => boolean;
  readonly ended: Promise<void>;
  readonly end: () => Promise<void>;
}

function startThread(dir: string, file: URL): Thread {
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
    // After a panic the engine answers nothing any more; the next one recovers.
    if (told.failure.fatal) void end();
  });
  worker.on('error', (error) => {
    alive = false;
    cause = error;
  });
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      alive = false;
      for (const { reject } of pending.values()) reject(new Error('the embedded store ended', { cause }));
      pending.clear();
      resolve();
    });
  });
  return {
    alive: () => alive,
    ended,
    end,
    send: async (question) => {
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

/** PGlite has one connection; who wants it waits for its turn, and a transaction keeps it. */
function oneConnection(engine: Engine): Driver {
  let turn = Promise.resolve();
  let free = () => {};
  const connection: DatabaseConnection = {
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      const { rows, affected } = await engine.query(query.sql, query.parameters);
      return { rows: rows as R[], ...(affected === undefined ? {} : { numAffectedRows: BigInt(affected) }) };
    },
    // biome-ignore lint/correctness/useYield: PGlite has no cursors
    async *streamQuery() {
      throw new Error('The embedded store does not stream.');
    },
  };
  const run = async (sql: string) => {
    await engine.query(sql, []);
  };
  return {
    init: async () => {},
    acquireConnection: async () => {
      const before = turn;
      let done = () => {};
      turn = new Promise((resolve) => {
        done = resolve;
      });
      await before;
      free = done;
      return connection;
    },
    releaseConnection: async () => free(),
    beginTransaction: () => run('begin'),
    commitTransaction: () => run('commit'),
    rollbackTransaction: () => run('rollback'),
    destroy: async () => {},
  };
}
