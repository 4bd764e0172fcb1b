/**
 * Opens the store. This is PostgreSQL if a URL is configured, and otherwise PGlite in the data directory. Both use the
 * same schema and statements.
 */
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { awaitLeadership, type Leadership, type Seen } from './leader-election.ts';
import { leadershipUnknownError } from './leader-guard.ts';
import { type LeaderRecord, parseLeaderRecord, requireSameSettings, type SharedSettings } from './leader-record.ts';
import { MIGRATIONS, type Migrations, migrate, newerMigrations } from './migrate.ts';
import { openPglite, type StartEngine } from './pglite.ts';
import type { Tables } from './schema.ts';
import { assertRowCount, type Step, statement, toStep, UnexpectedRows } from './statement.ts';

/** Provides typed access to the tables. */
export type Db = Kysely<Tables>;

/** The open store of the active broker. */
export type Store = Awaited<ReturnType<typeof ready>>;

/**
 * Locks the epoch row. Callers must check that one row is returned, because there is none if another broker has taken
 * over. The lock also waits for any statements of this broker that are still running even though their connection was
 * lost.
 */
const LOCK_EPOCH = statement<number>(
  'select epoch from broker_epoch where epoch = ($1::jsonb->>0)::integer for update',
);

/** Thrown if a write is rejected because another broker has taken over. */
export class FencedError extends Error {
  constructor() {
    super('another broker has taken over');
  }
}

/** The location of the store, and callbacks for a waiting broker. */
export interface StoreOptions {
  readonly dataDir: string;
  /** A `postgres://...` URL. Defaults to PGlite in `dataDir`. */
  readonly databaseUrl?: string | undefined;
  /** This broker's record, for waiting brokers to read. */
  readonly self?: { readonly instance: string; readonly shared: SharedSettings };
  /** Called repeatedly while another broker is active. */
  readonly onWaiting?: (seen: Seen) => void;
  /** Called if the store does not respond while the broker is waiting. */
  readonly onFailure?: (cause: unknown) => void;
  /** Starts the embedded engine. Defaults to a thread of its own. Tests override it to reuse engines. */
  readonly startEngine?: StartEngine | undefined;
  /** The migrations to apply. Defaults to those of this version. Tests override them to simulate other versions. */
  readonly migrations?: Migrations;
  /** Aborts the wait. */
  readonly signal?: AbortSignal | undefined;
}

const STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/**
 * How long a frozen broker's transaction may stay idle before the database aborts it. Without this, its epoch lock
 * would block the next broker.
 */
const IDLE_IN_TRANSACTION_MS = 3_000;

/**
 * Opens the store and resolves when this process is active. With PostgreSQL, this means waiting while another broker is
 * active.
 * @throws MeshpassError `store_unavailable`; `store_newer`, `store_older` (migrate.ts); `config_invalid` if this broker
 *   could not take over; the abort reason of the signal
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  try {
    return await (options.databaseUrl === undefined ? embedded(options) : remote(options, options.databaseUrl));
  } catch (thrown) {
    if (thrown instanceof MeshpassError || options.signal?.aborted) throw thrown;
    throw new MeshpassError('store_unavailable', `${whatFailed(options)}: ${whyItFailed(thrown)}.`, { cause: thrown });
  }
}

function whatFailed({ databaseUrl, dataDir }: StoreOptions): string {
  return databaseUrl === undefined
    ? `Cannot open the embedded store in ${dataDir}`
    : 'Cannot open the database (--database-url)';
}

/**
 * Describes an error without revealing the password. Only system errors and PostgreSQL errors have a code, and their
 * messages never contain the password. Other messages might.
 */
function whyItFailed(thrown: unknown): string {
  const coded = thrown instanceof Error && typeof (thrown as NodeJS.ErrnoException).code === 'string';
  if (!coded) return 'see the log for the cause';
  const { code, message } = thrown as NodeJS.ErrnoException;
  const problem = describeFileError(thrown);
  return problem === code ? message : problem;
}

async function embedded(options: StoreOptions): Promise<Store> {
  const { dialect, commit, close } = openPglite(options.dataDir, options.startEngine);
  const db: Db = new Kysely({ dialect });
  const maintain = async () => {
    // PGlite runs as a single process and has no autovacuum or checkpointer, so dead rows and the WAL would grow
    // without limit.
    const tables = [
      ...['proof_replay', 'sessions', 'session_principals'],
      ...['approval_requests', 'approval_deliveries'],
    ];
    for (const table of tables) await sql.raw(`vacuum ${table}`).execute(db);
    await sql`checkpoint`.execute(db);
  };
  return await ready({ db, kind: 'pglite', commit, maintain, close }, keptByFile(), options);
}

async function remote(options: StoreOptions, databaseUrl: string): Promise<Store> {
  const { self, onWaiting, onFailure = () => {}, migrations = MIGRATIONS, signal } = options;
  let compared = false;
  const leadership = await awaitLeadership({
    databaseUrl,
    onFailure,
    signal,
    onWaiting: (seen) => {
      const { active, executed } = seen;
      // Check this while waiting, so that an incompatible update fails on its first broker while the active one keeps
      // running.
      newerMigrations(executed, Object.keys(migrations));
      // Check this only once, because key files may change later and are read again before use.
      if (active && self && !compared) requireSameSettings(self.shared, active);
      compared ||= active !== undefined;
      onWaiting?.(seen);
    },
  });
  const pool = openPool(databaseUrl, { max: 4 });
  const writer = openPool(databaseUrl, { max: 1, pipeline: true });
  writer.on('connect', (client) => client.query(WRITER_SETTINGS).catch(() => {}));
  const db: Db = new Kysely({ dialect: new PostgresDialect({ pool }) });
  // Release the lock last, so that none of this broker's statements are still running when the next broker takes over.
  const close = async () => {
    await Promise.all([db.destroy(), writer.end()]);
    await leadership.end();
  };
  const commit = (steps: readonly Step[]) => commitOn(writer, steps);
  return await ready({ db, kind: 'postgres', commit, maintain: async () => {}, close }, leadership, options);
}

function openPool(connectionString: string, options: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({
    ...options,
    connectionString,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    application_name: 'meshpass-broker',
    keepAlive: true,
  });
  // A broken connection must not crash the process. Its statement fails, and the next one opens a new connection.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Hash and merge joins are turned off, because they would scan whole tables to find the few rows of a batch. */
const WRITER_SETTINGS = `set idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS};
set enable_hashjoin = off; set enable_mergejoin = off`;

/**
 * Runs the steps in a single transaction with two round trips. Prepared statements reduce the database's CPU time by
 * four fifths.
 * @throws the first error
 */
async function commitOn(pool: pg.Pool, steps: readonly Step[]): Promise<void> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    const begun = client.query('begin');
    const sent = steps.map((step) => client.query({ name: step.name, text: step.sql, values: [step.parameter] }));
    // After an error, the database rejects all remaining steps, so the first error is the actual cause.
    const [start, ...results] = await Promise.allSettled([begun, ...sent]);
    if (start.status === 'rejected') throw start.reason;
    for (const [index, result] of results.entries()) {
      if (result.status === 'rejected') throw result.reason;
      assertRowCount(steps[index]!, result.value.rowCount ?? 0, result.value.rows);
    }
    await client.query('commit');
  } catch (thrown) {
    await client.query('rollback').catch((cause: Error) => {
      broken = cause;
    });
    throw thrown;
  } finally {
    client.release(broken);
  }
}

/**
 * Creates the leadership of a broker that uses PGlite. The directory lock keeps other processes out while this one is
 * running.
 */
function keptByFile(): Omit<Leadership, 'end'> {
  const lost = Promise.withResolvers<void>();
  let over = false;
  const lose = () => {
    over = true;
    lost.resolve();
  };
  return { isLeader: () => !over, onLeaderAgain: () => {}, lost: lost.promise, lose, watchEpoch: () => {} };
}

/** A database that has been opened, whether or not this broker may write to it. */
interface Opened {
  readonly db: Db;
  readonly kind: 'pglite' | 'postgres';
  readonly commit: (steps: readonly Step[]) => Promise<void>;
  /** Performs maintenance on the tables. Called every minute. */
  readonly maintain: () => Promise<void>;
  readonly close: () => Promise<void>;
}

async function ready(opened: Opened, leadership: Omit<Leadership, 'end'>, { self, migrations }: StoreOptions) {
  const { db } = opened;
  try {
    // Wait until this broker is active before migrating, because a waiting broker must not change the active broker's
    // tables.
    await migrate(db, migrations);
    const before = parseLeaderRecord((await db.selectFrom('broker_epoch').select('holder').executeTakeFirst())?.holder);
    const since = new Date().toISOString();
    const holderText = (shared: SharedSettings) => JSON.stringify({ ...self!, shared, since } satisfies LeaderRecord);
    let holder = self && holderText(self.shared);
    // Derive the epoch from the current time, so that it still increases if the database is replaced with an empty one
    // or a backup.
    const next = sql<number>`greatest(epoch + 1, (extract(epoch from now()) / 60)::integer)`;
    const { epoch } = await db
      .updateTable('broker_epoch')
      .set({ epoch: next, holder: holder ?? null })
      .returning('epoch')
      .executeTakeFirstOrThrow();
    leadership.watchEpoch(epoch);
    const ping = async () => {
      await sql`select 1`.execute(db);
    };
    const { isLeader, onLeaderAgain, lost, lose } = leadership;
    const guarded = db.withPlugin({
      transformQuery: ({ node }) => {
        if (isLeader()) return node;
        throw leadershipUnknownError();
      },
      transformResult: async ({ result }) => result,
    });
    const lock = toStep(LOCK_EPOCH, [epoch], 1);
    const commit = async (steps: readonly Step[]) => {
      if (!isLeader()) throw leadershipUnknownError();
      try {
        await opened.commit([lock, ...steps]);
      } catch (thrown) {
        if (!(thrown instanceof UnexpectedRows && thrown.step === lock)) throw thrown;
        lose();
        throw new FencedError();
      }
    };
    const announce = async (shared: SharedSettings) => {
      const text = holderText(shared);
      if (!self || text === holder) return;
      await guarded.updateTable('broker_epoch').set({ holder: text }).where('epoch', '=', epoch).execute();
      holder = text;
    };
    return {
      ...opened,
      db: guarded,
      /**
       * The fencing number of this process. Each broker increases the stored epoch at startup, after which the store
       * rejects all writes from the previous broker. Two brokers can therefore never act on the sessions at the same
       * time.
       */
      epoch,
      /** The record left by the previous broker, if any. */
      before,
      /** Resolves when the store responds. */
      ping,
      /** Records a change to the settings that all brokers must share. */
      announce,
      /** Whether this process is known to be the active broker right now. While it is not, `db` rejects all queries. */
      isLeader,
      /** Registers a callback to run whenever `isLeader` becomes true again. */
      onLeaderAgain,
      /** Resolves when another broker has taken over. This process must then exit, because its state is out of date. */
      lost,
      /**
       * Runs the steps in a single transaction. Callers must not call it concurrently.
       * @throws FencedError if another broker has taken over; UnexpectedRows; MeshpassError `store_unavailable`;
       *   database errors. If the connection was lost, the transaction may still have been committed.
       */
      commit,
    };
  } catch (thrown) {
    await opened.close();
    throw thrown;
  }
}
