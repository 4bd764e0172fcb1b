/**
 * The thread that PGlite runs in: the disk's time to sync is this thread's, not the event loop's that answers requests.
 *
 * As it comes, PGlite starts PostgreSQL with `-F` (fsync off), and its file system has no fsync: a commit survives `kill -9`,
 * being in the page cache, but not a power failure. Here fsync is on and reaches the disk, and a commit returns after it.
 */
import { fsyncSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';

/** A statement, or `close`. */
export type EngineRequest =
  | { readonly id: number; readonly sql: string; readonly parameters: readonly unknown[] }
  | { readonly id: number; readonly close: true };

export type EngineReply =
  | { readonly id: number; readonly rows: unknown[]; readonly affected: number | undefined }
  | {
      readonly id: number;
      readonly failure: { message: string; code: string | undefined; detail: string | undefined; fatal: boolean };
    };

class SyncingNodeFS extends NodeFS {
  override async init(...args: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(...args);
    const addFsync = (module: unknown) => {
      const { stream_ops } = (module as { NODEFS: { stream_ops: Record<string, unknown> } }).NODEFS;
      stream_ops.fsync = (stream: { nfd: number }) => {
        fsyncSync(stream.nfd);
        return 0;
      };
    };
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [...(emscriptenOpts.preRun ?? []), addFsync] } };
  }
}

const opening = PGlite.create({
  fs: new SyncingNodeFS((workerData as { dir: string }).dir),
  startParams: [
    ...PGlite.defaultStartParams.filter((param) => param !== '-F'),
    ...['-c', 'fsync=on', '-c', 'wal_sync_method=fsync', '-c', 'synchronous_commit=on'],
    // Its own 128 MB would all become resident; the system caches the same files anyway.
    ...['-c', 'shared_buffers=16MB'],
  ],
});

parentPort!.on('message', async (request: EngineRequest) => {
  parentPort!.postMessage(await answer(request));
});

async function answer(request: EngineRequest): Promise<EngineReply> {
  try {
    const pglite = await opening;
    if ('close' in request) {
      await pglite.close();
      return { id: request.id, rows: [], affected: undefined };
    }
    const { rows, affectedRows } = await pglite.query(request.sql, [...request.parameters]);
    return { id: request.id, rows, affected: affectedRows };
  } catch (thrown) {
    const { message, code, detail, severity } = thrown as Record<'message' | 'code' | 'detail' | 'severity', string>;
    const failure = { message, code, detail, fatal: severity === undefined || /^(?:PANIC|FATAL)$/.test(severity) };
    return { id: request.id, failure };
  }
}
