/**
 * Elects the active broker with a PostgreSQL advisory lock, which belongs to a connection. Waiting brokers try to
 * acquire the lock four times a second. The active broker uses the same connection to confirm every second that it
 * still holds the lock.
 * PostgreSQL releases the lock when the connection ends. This happens immediately if the process dies, or after
 * LOCK_IDLE_MS of silence (`idle_session_timeout`) if the process is frozen or disconnected. LEADERSHIP_MS is shorter,
 * so a disconnected broker stops acting, according to its own clock, before another one takes over. The epoch protects
 * against writes that the old broker had already sent, because the store rejects them (LOCK_EPOCH).
 */
import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { type LeaderRecord, parseLeaderRecord } from './leader-record.ts';
import type { Tables } from './schema.ts';

/** The leadership of the active broker. */
export type Leadership = ReturnType<typeof lead>;

/** The state of the store, as seen by a waiting broker. */
export interface Seen {
  /** The record of the active broker. Undefined if it has not been stored yet. */
  readonly active: LeaderRecord | undefined;
  /** The names of the migrations in the store. */
  readonly executed: readonly string[];
  /** The stored access files. This remains the same object until one of the files changes. */
  readonly access: StoredAccess;
}

/** The access files that the next active broker starts with. */
export interface StoredAccess {
  /** The last file applied by a plan. It takes precedence over the next active broker's file on disk. */
  readonly applied: AppliedRow | undefined;
  /** The file on disk that last came into force. Undefined if there was none. */
  readonly inForce: InForceRow | undefined;
}

/** An access file applied by a plan. */
export type AppliedRow = Readonly<Pick<Tables['access_versions'], 'version' | 'main' | 'files'>>;
/** An access file on disk that came into force. */
export type InForceRow = Readonly<Pick<Tables['access_in_force'], 'digest' | 'main' | 'files'>>;

/** The database URL and callbacks for a waiting broker. */
export interface LeadershipOptions {
  readonly databaseUrl: string;
  /** Called after each attempt that fails because another broker holds the lock. Throw an error to stop waiting. */
  readonly onWaiting: (seen: Seen) => void;
  /** Called if the store does not respond while the broker is waiting. */
  readonly onFailure: (cause: unknown) => void;
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 250;
const CONFIRM_MS = 1_000;
/** How long a broker may act as the active one after requesting its last successful confirmation, in milliseconds. */
const LEADERSHIP_MS = 6_000;
const LOCK_IDLE_MS = 8_000;
const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_TIMEOUT_MS = 5_000;

/** The lock key includes the schema, because two installations may share a database. */
const TRY_LOCK = `select pg_try_advisory_lock(hashtextextended('meshpass broker ' || current_schema(), 0)) as locked`;

/**
 * Waits until this process becomes the active broker.
 * @throws the database's error if the first connection fails; the abort reason of the signal
 */
export async function awaitLeadership(options: LeadershipOptions): Promise<Leadership> {
  const { databaseUrl, onWaiting, onFailure, signal } = options;
  let connection: LockConnection | undefined = await openLockConnection(databaseUrl);
  try {
    for (;;) {
      signal?.throwIfAborted();
      let seen: Seen;
      try {
        connection ??= await openLockConnection(databaseUrl);
        const asked = now();
        if (await connection.lock()) return lead(databaseUrl, connection, asked);
        seen = await connection.look();
      } catch (thrown) {
        connection?.drop();
        connection = undefined;
        onFailure(thrown);
        await pause(CONFIRM_MS, undefined, { signal });
        continue;
      }
      onWaiting(seen);
      await pause(POLL_MS, undefined, { signal });
    }
  } catch (thrown) {
    connection?.drop();
    throw thrown;
  }
}

function lead(databaseUrl: string, locked: LockConnection, asked: Instant) {
  let connection: LockConnection | undefined = locked;
  let confirmed = asked;
  let epoch: number | undefined;
  let over = false;
  const listeners: (() => void)[] = [];
  const isLeader = () => !over && elapsed(confirmed) < LEADERSHIP_MS;
  const lost = Promise.withResolvers<void>();
  const stop = new AbortController();
  const lose = () => {
    if (over) return;
    over = true;
    stop.abort();
    connection?.drop();
    lost.resolve();
  };

  /**
   * Acquires the lock again after the connection was lost. The epoch shows whether another broker has held it in the
   * meantime.
   */
  const lockAgain = async (): Promise<LockConnection | undefined> => {
    const again = await openLockConnection(databaseUrl);
    try {
      const isMine = (await again.epoch()) === epoch;
      if (isMine && (await again.lock())) return again;
      again.drop();
      if (!isMine) lose();
      return undefined;
    } catch (thrown) {
      again.drop();
      throw thrown;
    }
  };
  const confirm = async () => {
    try {
      const asked = now();
      // Without an epoch, this broker cannot tell whether another one has held the lock in the meantime.
      if (!connection && epoch === undefined) return lose();
      connection ??= await lockAgain();
      if (!connection) return;
      const current = await connection.epoch();
      if (epoch !== undefined && current !== epoch) return lose();
      const wasLeader = isLeader();
      confirmed = asked;
      if (!wasLeader && isLeader()) for (const listener of listeners) listener();
    } catch {
      connection?.drop();
      connection = undefined;
    }
  };
  const renew = async () => {
    while (!over) {
      const rest = pause(connection ? CONFIRM_MS : POLL_MS, undefined, { signal: stop.signal, ref: false });
      await Promise.race([rest.catch(() => {}), ...(connection ? [connection.ended] : [])]);
      if (over) return;
      if (connection?.isOver()) connection = undefined;
      await confirm();
    }
  };
  void renew();
  return {
    /** Whether this process is known to be the active broker right now. */
    isLeader,
    /** Registers a callback to run whenever `isLeader` becomes true again. */
    onLeaderAgain: (listener: () => void): void => {
      listeners.push(listener);
    },
    /** Resolves when another broker has taken over. This broker never becomes active again. */
    lost: lost.promise,
    /** Reports that the store rejected a write because another broker has taken over. */
    lose,
    /** Sets the expected epoch. If the store has any other epoch, another broker has taken over. */
    watchEpoch: (own: number): void => {
      epoch = own;
    },
    /** Releases the lock. */
    end: async () => {
      over = true;
      stop.abort();
      await connection?.end();
    },
  };
}

/** A connection reserved for the lock, so that other statements cannot delay it. */
type LockConnection = Awaited<ReturnType<typeof openLockConnection>>;

async function openLockConnection(databaseUrl: string) {
  const socket = new Socket();
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: 'meshpass-broker-lock',
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    stream: () => socket,
  });
  client.on('error', () => {});
  let over = false;
  const ended = new Promise<void>((resolve) => {
    socket.once('close', () => {
      over = true;
      resolve();
    });
  });
  try {
    await client.connect();
    await client.query(`set idle_session_timeout = ${LOCK_IDLE_MS}`);
  } catch (thrown) {
    socket.destroy();
    throw thrown;
  }
  const row = async (columns: string, from = 'broker_epoch'): Promise<Record<string, unknown> | undefined> => {
    try {
      return (await client.query(`select ${columns} from ${from} limit 1`)).rows[0];
    } catch (thrown) {
      if (NOT_MIGRATED.has(String((thrown as { code?: unknown }).code))) return undefined;
      throw thrown;
    }
  };
  let access: StoredAccess = { applied: undefined, inForce: undefined };
  let stamp = '';
  // The files may be large, and this runs four times a second, so they are only read again after a change.
  const newestAccess = async (): Promise<StoredAccess> => {
    const now = JSON.stringify([await row('version', NEWEST_VERSION), await row('digest', 'access_in_force')]);
    if (now === stamp) return access;
    const newest = await row('version, main, files, on_disk', NEWEST_VERSION);
    const inForce = await row('digest, main, files', 'access_in_force');
    access = {
      applied: newest?.on_disk === true ? undefined : (newest as AppliedRow | undefined),
      inForce: inForce as InForceRow | undefined,
    };
    stamp = now;
    return access;
  };
  return {
    lock: async () => (await client.query(TRY_LOCK)).rows[0].locked === true,
    /** Returns undefined if the schema does not exist yet. */
    epoch: async () => (await row('epoch'))?.epoch as number | undefined,
    look: async () => {
      const seen = await row('holder, array(select name::text from kysely_migration order by name) as executed');
      return {
        active: parseLeaderRecord(seen?.holder),
        executed: (seen?.executed as string[] | undefined) ?? [],
        access: await newestAccess(),
      };
    },
    ended,
    isOver: () => over,
    end: async () => {
      const late = setTimeout(() => socket.destroy(), CONFIRM_MS);
      await client.end().catch(() => {});
      clearTimeout(late);
    },
    drop: () => socket.destroy(),
  };
}

const NEWEST_VERSION = 'access_versions order by version desc';

/** The PostgreSQL error codes for `undefined_table` and `undefined_column`. */
const NOT_MIGRATED: ReadonlySet<string> = new Set(['42P01', '42703']);

interface Instant {
  readonly monotonic: number;
  readonly wall: number;
}

function now(): Instant {
  return { monotonic: performance.now(), wall: Date.now() };
}

/**
 * Returns how many milliseconds have passed, according to whichever clock advanced further. The monotonic clock stops
 * while the machine is suspended, and the wall clock may be set back.
 */
function elapsed(since: Instant): number {
  return Math.max(performance.now() - since.monotonic, Date.now() - since.wall);
}
