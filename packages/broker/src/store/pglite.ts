/**
 * PGlite (PostgreSQL as WebAssembly) that keeps its word. As it comes it starts PostgreSQL with `-F` (fsync off), and its
 * file system has no fsync: a commit survives `kill -9`, being in the page cache, but not a power failure. Here fsync is
 * on, reaches the disk, and a commit returns after it. The call blocks the event loop for the time the disk takes;
 * the journal writes many requests in one commit for that reason.
 *
 * There is no checkpointer and no autovacuum in a single process: `maintain` does their work.
 */
import { fsyncSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';
import { lockDirectory } from './lock.ts';

export interface EmbeddedStore {
  readonly pglite: PGlite;
  /** Writes a checkpoint, so that WAL and recovery time stay short, and vacuums the tables that lose rows. */
  readonly maintain: () => Promise<void>;
  /** After the engine has been closed. */
  readonly release: () => void;
}

/**
 * @param dataDir parent directory, made with mode 0700 where missing
 * @throws MeshpassError `store_unavailable` when another process has it open
 */
export async function openPglite(dataDir: string): Promise<EmbeddedStore> {
  const dir = join(dataDir, 'store');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const release = lockDirectory(dataDir);
  try {
    const pglite = await PGlite.create({
      fs: new SyncingNodeFS(dir),
      startParams: [
        ...PGlite.defaultStartParams.filter((param) => param !== '-F'),
        ...['-c', 'fsync=on', '-c', 'wal_sync_method=fsync', '-c', 'synchronous_commit=on'],
      ],
    });
    return {
      pglite,
      maintain: async () => {
        await pglite.exec('vacuum proof_replay');
        await pglite.exec('vacuum sessions');
        await pglite.exec('vacuum session_principals');
        await pglite.exec('checkpoint');
      },
      release,
    };
  } catch (thrown) {
    release();
    throw thrown;
  }
}

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
