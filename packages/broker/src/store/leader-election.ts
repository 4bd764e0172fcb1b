/**
 * Which of several brokers is the active one: whose connection holds an advisory lock of PostgreSQL. The others ask for it four
 * times a second. The active one confirms every second, on that very connection, that it still has it.
 *
 * PostgreSQL passes the lock on when the connection ends: at once when the process dies, and after LOCK_IDLE_MS of silence
 * (`idle_session_timeout`) when it is frozen or cut off. LEADERSHIP_MS is shorter: whoever is cut off stops before another starts,
 * by its own clock and without asking anybody. What was sent before then is refused by the epoch (write-batch.ts).
 */
import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { type LeaderRecord, readLeaderRecord } from './leader-record.ts';
import type { AccessVersionsTable } from './tables.ts';

export interface Leadership {
  /** Whether this process is known, at this instant, to be the active broker. */
  readonly isLeader: () => boolean;
  /** Calls back whenever `holds` is true again after it was not. */
  readonly onLeaderAgain: (listener: () => void) => void;
  /** Resolves when another broker has taken over; this one never becomes active again. */
  readonly lost: Promise<void>;
  /** The store has refused a write: another broker has taken over. */
  readonly lose: () => void;
  /** From now on another epoch in the store means that another broker has taken over. */
  readonly watchEpoch: (epoch: number) => void;
  /** Gives the lock up. */
  readonly end: () => Promise<void>;
}

/** What one that waits sees of the store. */
export interface Seen {
  /** Undefined where it has not said who it is yet. */
  readonly active: LeaderRecord | undefined;
  /** Names of the migrations in the store. */
  readonly executed: readonly string[];
  /**
   * The access file that was applied by plan last: it goes before the one on disk of whoever becomes active. The same object until another is applied.
   */
  readonly applied: AppliedRow | undefined;
  /** Digest of the access file on disk that came into force last; undefined where there is none yet. */
  readonly inForce: string | undefined;
}

export type AppliedRow = Readonly<Pick<AccessVersionsTable, 'version' | 'main' | 'files'>>;

export interface LeadershipOptions {
  readonly databaseUrl: string;
  /** Called with every look at the lock that found it taken. What it throws ends the waiting. */
  readonly onWaiting: (seen: Seen) => void;
  /** Called where the store does not answer one that waits. */
  readonly onFailure: (cause: unknown) => void;
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 250;
const CONFIRM_MS = 1_000;
/** This long after the last confirmation was asked for, a broker no longer believes that it is the active one. */
export const LEADERSHIP_MS = 6_000;
const LOCK_IDLE_MS = 8_000;
const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_TIMEOUT_MS = 5_000;

/** Of the database and the schema: two installations may share a server. */
const TRY_LOCK = `select pg_try_advisory_lock(hashtextextended('meshpass broker ' || current_schema(), 0)) as locked`;

/**
 * Waits until this process is the active broker.
 * @throws what the database throws where it cannot be reached at first; the reason of the signal
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

function lead(databaseUrl: string, locked: LockConnection, asked: Instant): Leadership {
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

  /** The lock went with its connection. It can be had again as long as nobody else has had it: the epoch tells. */
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
      // Before it had an epoch it left no trace by which to know whether another had the lock meanwhile.
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
    isLeader,
    onLeaderAgain: (listener) => listeners.push(listener),
    lost: lost.promise,
    lose,
    watchEpoch: (own) => {
      epoch = own;
    },
    end: async () => {
      over = true;
      stop.abort();
      await connection?.end();
    },
  };
}

/** A connection for the lock alone: no statement of anybody else's delays its own. */
interface LockConnection {
  readonly lock: () => Promise<boolean>;
  /** Undefined where the schema is not there yet. */
  readonly epoch: () => Promise<number | undefined>;
  readonly look: () => Promise<Seen>;
  readonly ended: Promise<void>;
  readonly isOver: () => boolean;
  readonly end: () => Promise<void>;
  readonly drop: () => void;
}

async function openLockConnection(databaseUrl: string): Promise<LockConnection> {
  const socket = new Socket();
  const client = new pg.Client({
    ...{ connectionString: databaseUrl, application_name: 'meshpass-broker-lock', keepAlive: true },
    ...{ connectionTimeoutMillis: CONNECT_TIMEOUT_MS, query_timeout: QUERY_TIMEOUT_MS },
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
  let applied: AppliedRow | undefined;
  // The files may be large, and are looked for four times a second: they are read only where the version is another one.
  const newest = async (): Promise<AppliedRow | undefined> => {
    const version = (await row('version', NEWEST_VERSION))?.version;
    if (version === undefined) applied = undefined;
    else if (version !== applied?.version)
      applied = (await row('version, main, files', NEWEST_VERSION)) as AppliedRow | undefined;
    return applied;
  };
  return {
    lock: async () => (await client.query(TRY_LOCK)).rows[0].locked === true,
    epoch: async () => (await row('epoch'))?.epoch as number | undefined,
    look: async () => {
      const seen = await row('holder, array(select name::text from kysely_migration) as executed');
      return {
        active: readLeaderRecord(seen?.holder),
        executed: (seen?.executed as string[] | undefined) ?? [],
        applied: await newest(),
        inForce: (await row('digest', 'access_in_force'))?.digest as string | undefined,
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

/** undefined_table, undefined_column */
const NOT_MIGRATED: ReadonlySet<string> = new Set(['42P01', '42703']);

interface Instant {
  readonly monotonic: number;
  readonly wall: number;
}

function now(): Instant {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** Milliseconds. The monotonic clock stands still while a machine is suspended, the other one may be set back. */
function elapsed(since: Instant): number {
  return Math.max(performance.now() - since.monotonic, Date.now() - since.wall);
}
