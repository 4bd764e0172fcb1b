/**
 * Runs PGlite in a worker thread, so that syncing to disk does not block the event loop that serves requests.
 * By default, PGlite starts PostgreSQL with `-F` (fsync off), and its file system does not implement fsync. A commit
 * would survive `kill -9`, because it is in the page cache, but not a power failure. This thread turns fsync on, so a
 * commit is on disk before it returns.
 */
import { fsyncSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite, type Results } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';
import { assertRowCount, type Step, UnexpectedRows } from './statement.ts';

/**
 * A command for the thread: a single statement, the steps of a transaction, or `close`. Commands are sent one by one.
 */
export type EngineCommand =
  | { readonly sql: string; readonly parameters: readonly unknown[] }
  | { readonly steps: readonly Step[] }
  | { readonly close: true };

/** The result of a command. */
export interface EngineAnswer {
  /** The result of a single statement. */
  readonly result?: Results<unknown>;
  /** The step that changed or returned an unexpected number of rows. Its transaction was rolled back. */
  readonly unexpected?: { readonly index: number; readonly rows: readonly unknown[] };
}

/** The result of a command, or the reason why it failed. */
export type EngineReply =
  | EngineAnswer
  | { readonly failure: { message: string; code: string | undefined; detail: string | undefined; fatal: boolean } };

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
    // The default of 128 MB would become fully resident, even though the operating system already caches the same
    // files.
    ...['-c', 'shared_buffers=16MB'],
  ],
});

parentPort!.on('message', async (command: EngineCommand) => {
  parentPort!.postMessage(await answer(command));
});

async function answer(command: EngineCommand): Promise<EngineReply> {
  try {
    const pglite = await opening;
    if ('close' in command) {
      await pglite.close();
      return {};
    }
    if ('steps' in command) return await transact(pglite, command.steps);
    return { result: await pglite.query(command.sql, [...command.parameters]) };
  } catch (thrown) {
    const { message, code, detail, severity } = thrown as Record<'message' | 'code' | 'detail' | 'severity', string>;
    return { failure: { message, code, detail, fatal: severity === undefined || /^(?:PANIC|FATAL)$/.test(severity) } };
  }
}

/** The names of the statements that this engine has prepared. */
const prepared = new Set<string>();

/**
 * Runs the steps in a single transaction. Planning a statement costs more than running it, so each one is prepared only
 * once.
 */
async function transact(pglite: PGlite, steps: readonly Step[]): Promise<EngineAnswer> {
  for (const { name, sql } of steps) {
    if (prepared.has(name)) continue;
    await pglite.exec(`prepare ${name} (jsonb) as ${sql}`);
    prepared.add(name);
  }
  const script = steps.map(({ name, parameter }) => `execute ${name} (${quoted(parameter)})`).join(';');
  try {
    await pglite.transaction(async (transaction) => {
      const results = await transaction.exec(script);
      for (const [index, step] of steps.entries()) {
        const { rows, rowCount = rows.length } = results[index]!;
        assertRowCount(step, rowCount, rows);
      }
    });
  } catch (thrown) {
    if (!(thrown instanceof UnexpectedRows)) throw thrown;
    return { unexpected: { index: steps.indexOf(thrown.step), rows: thrown.rows } };
  }
  return {};
}

/** Quotes text as an SQL string literal, because EXECUTE does not accept protocol parameters. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
