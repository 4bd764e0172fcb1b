/** Opens the store: PGlite in the data directory, or PostgreSQL where a URL is given. Same schema, same statements. */
import { MeshpassError } from '@meshpass/identity';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { migrate } from './migrate.ts';
import { openPglite } from './pglite.ts';
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
}

const STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** @throws MeshpassError `store_unavailable` */
export async function openStore(options: StoreOptions): Promise<Store> {
  try {
    return options.databaseUrl === undefined ? await embedded(options.dataDir) : await remote(options.databaseUrl);
  } catch (thrown) {
    if (thrown instanceof MeshpassError) throw thrown;
    throw new MeshpassError('store_unavailable', 'The store could not be opened.', { cause: thrown });
  }
}

async function embedded(dataDir: string): Promise<Store> {
  const { dialect, close } = openPglite(dataDir);
  const db: Db = new Kysely({ dialect });
  const maintain = async () => {
    // A single process has neither autovacuum nor a checkpointer: dead rows would stay, and the WAL would grow for ever.
    for (const table of ['proof_replay', 'sessions', 'session_principals'])
      await sql.raw(`vacuum ${table}`).execute(db);
    await sql`checkpoint`.execute(db);
  };
  return await ready({ db, kind: 'pglite', maintain, close });
}

async function remote(databaseUrl: string): Promise<Store> {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: 4,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    application_name: 'meshpass-broker',
  });
  // A connection that dies, idle or in use, must not end the process: its statement fails, the next takes a new one.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const db: Db = new Kysely({ dialect: new PostgresDialect({ pool }) });
  return await ready({ db, kind: 'postgres', maintain: async () => {}, close: () => db.destroy() });
}

async function ready(store: Omit<Store, 'epoch' | 'ping'>): Promise<Store> {
  try {
    await migrate(store.db);
    const { epoch } = await store.db
      .updateTable('broker_epoch')
      .set((eb) => ({ epoch: eb('epoch', '+', 1) }))
      .returning('epoch')
      .executeTakeFirstOrThrow();
    const ping = async () => {
      await sql`select 1`.execute(store.db);
    };
    return { ...store, epoch, ping };
  } catch (thrown) {
    await store.close();
    throw thrown;
  }
}
