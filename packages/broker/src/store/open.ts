/** Opens the store: PGlite in the data directory, or PostgreSQL where a URL is given. Same schema, same statements. */
import { fileProblem, MeshpassError } from '@meshpass/identity';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { awaitLeadership, type Leadership, type Seen } from './leader-election.ts';
import { queryOnlyAsLeader } from './leader-guard.ts';
import { type LeaderRecord, readLeaderRecord, refuseDifferent, type Shared } from './leader-record.ts';
import { MIGRATIONS, type Migrations, migrate } from './migrate.ts';
import { openPglite } from './pglite.ts';
import { newerMigrations } from './schema-level.ts';
import type { Tables } from './tables.ts';

export type Db = Kysely<Tables>;

export interface Store {
  readonly db: Db;
  readonly kind: 'pglite' | 'postgres';
  /**
   * Number of this process as a writer of the store. A broker that starts takes the next one, and from then on every
   * write of the one before is refused by the store: two brokers cannot both believe that they hold the sessions.
   */
  readonly epoch: number;
  /** `Migrated.fromInsideOnly`: true in the one start that upgrades such a store, and never again. */
  readonly fromInsideOnly: boolean;
  /** Who held the store before, if they said. */
  readonly before: LeaderRecord | undefined;
  /** Whether this process is known, at this instant, to be the one that may act; `db` sends nothing otherwise. */
  readonly isLeader: () => boolean;
  /** Calls back whenever `holds` is true again after it was not. */
  readonly onLeaderAgain: (listener: () => void) => void;
  /** Resolves when another broker has taken over. Then this process has to end: its memory is not true any more. */
  readonly lost: Promise<void>;
  /** To be told that the store has refused a write of this epoch. */
  readonly superseded: () => void;
  /** Says in the store what others must have in common with this broker, where it has changed. */
  readonly announce: (shared: Shared) => Promise<void>;
  /** Answers when the store does. */
  readonly ping: () => Promise<void>;
  /** To be called every few minutes. */
  readonly maintain: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface StoreOptions {
  readonly dataDir: string;
  /** `postgres://...`; PGlite in `dataDir` where absent. */
  readonly databaseUrl?: string | undefined;
  /** Who opens it, for those who wait. */
  readonly self?: { readonly instance: string; readonly shared: Shared };
  /** Called again and again while another broker is active: who it is, where it has said so. */
  readonly onWaiting?: (seen: Seen) => void;
  /** Called where the store does not answer one that waits. */
  readonly onFailure?: (cause: unknown) => void;
  /** Those of this version where absent; tests have others, of versions before and after. */
  readonly migrations?: Migrations;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
}

const STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Resolves when this process is the one that may act: with PostgreSQL it waits until no other broker is.
 * @throws MeshpassError `store_unavailable`; `store_newer` where a newer version left this one behind; `config_invalid` where it could
 * not take the place of the active one; the reason of the signal
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
    ? `The embedded store in ${dataDir} could not be opened`
    : 'The database (--database-url) could not be opened';
}

/** Errors of the system and of PostgreSQL have a code, and name no password. What others say might. */
function whyItFailed(thrown: unknown): string {
  const coded = thrown instanceof Error && typeof (thrown as NodeJS.ErrnoException).code === 'string';
  if (!coded) return 'see the log for the cause';
  const { code, message } = thrown as NodeJS.ErrnoException;
  const problem = fileProblem(thrown);
  return problem === code ? message : problem;
}

async function embedded(options: StoreOptions): Promise<Store> {
  const { dialect, close } = openPglite(options.dataDir);
  const db: Db = new Kysely({ dialect });
  const maintain = async () => {
    // A single process has neither autovacuum nor a checkpointer: dead rows would stay, and the WAL would grow for ever.
    const tables = [
      ...['proof_replay', 'sessions', 'session_principals', 'operator_sessions', 'operator_confirmations'],
      ...['approval_requests', 'approval_deliveries'],
    ];
    for (const table of tables) await sql.raw(`vacuum ${table}`).execute(db);
    await sql`checkpoint`.execute(db);
  };
  return await ready({ db, kind: 'pglite', maintain, close }, keptByFile(), options);
}

async function remote(options: StoreOptions, databaseUrl: string): Promise<Store> {
  const { self, onWaiting, onFailure = () => {}, migrations = MIGRATIONS, signal } = options;
  let compared = false;
  const leadership = await awaitLeadership({
    ...{ databaseUrl, onFailure, signal },
    onWaiting: (seen) => {
      const { active, executed } = seen;
      // Now, not when it is needed: an update that goes back too far then stops at the first broker, and the active one stays.
      newerMigrations(executed, Object.keys(migrations));
      // Once: keys of ours may have been changed in their files since, and are read again before they are needed.
      if (active && self && !compared) refuseDifferent(self.shared, active);
      compared ||= active !== undefined;
      onWaiting?.(seen);
    },
  });
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 4,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    application_name: 'meshpass-broker',
    keepAlive: true,
  });
  // A connection that dies, idle or in use, must not end the process: its statement fails, the next takes a new one.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const db: Db = new Kysely({ dialect: new PostgresDialect({ pool }) });
  // The lock last: whoever gets it must find nothing of ours under way.
  const close = async () => {
    await db.destroy();
    await leadership.end();
  };
  return await ready({ db, kind: 'postgres', maintain: async () => {}, close }, leadership, options);
}

/** The lock on the directory keeps others out for as long as this process lives. */
function keptByFile(): Omit<Leadership, 'end'> {
  const lost = Promise.withResolvers<void>();
  let over = false;
  const lose = () => {
    over = true;
    lost.resolve();
  };
  return { isLeader: () => !over, onLeaderAgain: () => {}, lost: lost.promise, lose, watchEpoch: () => {} };
}

async function ready(
  opened: Pick<Store, 'db' | 'kind' | 'maintain' | 'close'>,
  leadership: Omit<Leadership, 'end'>,
  { self, migrations }: StoreOptions,
): Promise<Store> {
  const { db } = opened;
  try {
    // Not earlier: a broker that waits must not change the tables under the active one.
    const { fromInsideOnly } = await migrate(db, migrations);
    const before = readLeaderRecord((await db.selectFrom('broker_epoch').select('holder').executeTakeFirst())?.holder);
    const since = new Date().toISOString();
    const holderText = (shared: Shared) => JSON.stringify({ ...self!, shared, since } satisfies LeaderRecord);
    let holder = self && holderText(self.shared);
    const { epoch } = await db
      .updateTable('broker_epoch')
      .set((eb) => ({ epoch: eb('epoch', '+', 1), holder: holder ?? null }))
      .returning('epoch')
      .executeTakeFirstOrThrow();
    leadership.watchEpoch(epoch);
    const ping = async () => {
      await sql`select 1`.execute(db);
    };
    const { isLeader, onLeaderAgain, lost, lose } = leadership;
    const guarded = db.withPlugin(queryOnlyAsLeader(isLeader));
    const announce = async (shared: Shared) => {
      const text = holderText(shared);
      if (!self || text === holder) return;
      await guarded.updateTable('broker_epoch').set({ holder: text }).where('epoch', '=', epoch).execute();
      holder = text;
    };
    return {
      ...{ ...opened, db: guarded, epoch, fromInsideOnly, before, ping, announce },
      ...{ isLeader, onLeaderAgain, lost, superseded: lose },
    };
  } catch (thrown) {
    await opened.close();
    throw thrown;
  }
}
