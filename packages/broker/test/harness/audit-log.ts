/** An audit log on a real store of either engine, opened as a broker does, and the changes that the owner of its database can make. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toMeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, it } from 'vitest';
import { keyForEpoch, latestEpoch, readStoredRestores } from '../../src/audit/checkpoint/epoch.ts';
import { type AuditKey, openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { fileSink, readKnownCheckpoints } from '../../src/audit/checkpoint/sink.ts';
import { type AuditExport, exportLog, readExport, serializeExport } from '../../src/audit/export/export.ts';
import { type VerifyOptions, verifyExport } from '../../src/audit/export/verify.ts';
import { rowHash } from '../../src/audit/log/chain.ts';
import { type CheckpointSigner, createCheckpointSigner } from '../../src/audit/log/checkpoint-signer.ts';
import { type AuditContext, recordRefusal } from '../../src/audit/log/decision.ts';
import { auditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { createJournal, type Journal } from '../../src/audit/log/journal.ts';
import { type AuditChain, createAuditChain } from '../../src/audit/log/log-end.ts';
import { type PruneResult, prune } from '../../src/audit/log/prune.ts';
import { openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { ENGINES, startPostgres, type TestPostgres } from './postgres.ts';
import { releaseStore, reusedStore } from './store/engines.ts';

export const SLOW = 180_000;
export const START = Date.UTC(2026, 0, 1);

/** A broker's log, on a store that tests can change behind it. */
export interface Log {
  readonly store: Store;
  readonly key: AuditKey;
  readonly chain: AuditChain;
  /** Clock that advances by one second with each row. */
  readonly clock: () => number;
  readonly journal: Journal;
  readonly checkpoints: CheckpointSigner;
  readonly write: (rows: number) => Promise<void>;
  readonly export: (after?: number) => Promise<AuditExport>;
  readonly verify: (options?: VerifyOptions) => Promise<string[]>;
  readonly prune: (before: Date, retainSeconds?: number) => Promise<PruneResult>;
}

let written = 0;

export async function openLog(store: Store, dir: string): Promise<Log> {
  const first = await openAuditKey(join(dir, 'audit-key.pem'), 'https://broker.example', true);
  const { restores } = await readStoredRestores(store.db, first.verifiers);
  const key = keyForEpoch(first, latestEpoch(restores));
  const sinks = [fileSink(join(dir, 'audit-checkpoint'), key.verifiers)];
  const { all, newest } = await readKnownCheckpoints(sinks, key.verifiers);
  const chain = createAuditChain(store.db, {
    verifiers: key.verifiers,
    known: all.map(({ checkpoint }) => checkpoint),
  });
  const clock = () => START + written * 1000;
  const journal = createJournal({ store, chain });
  const checkpoints = createCheckpointSigner({
    db: store.db,
    chain,
    key,
    sinks,
    before: newest?.note,
    clock,
    onFailure: () => {},
  });
  const exported = (after = 0) => exportLog({ db: store.db, key, checkpoints }, after);
  const context: AuditContext = { journal, clock, observe: () => {} };
  return {
    store,
    key,
    chain,
    clock,
    journal,
    checkpoints,
    write: async (rows) => {
      for (let n = 0; n < rows; n++) {
        written += 1;
        const event = {
          ...createAuditEvent('token.issue', { source: '192.0.2.7' }, clock, randomBytes),
          subject: `s${n}`,
        };
        const detail = { text: 'ünïcödé “quotes” \u2028 \n and \\' };
        const row = auditRow({ ...event, detail }, 'allowed', 'tested', undefined, clock());
        await journal.transaction((tx) => tx.audit(row));
      }
    },
    export: exported,
    verify: async (options) => (await verifyExport(await exported(), options)).problems.map((one) => one.message),
    prune: async (before, retainSeconds = 0) => {
      const event = createAuditEvent('audit.prune', {}, clock, randomBytes);
      try {
        return await prune({ audit: context, store, chain, key, clock, retainSeconds }, before, event);
      } catch (thrown) {
        if (!event.written) await recordRefusal(context, event, toMeshpassError(thrown));
        throw thrown;
      }
    },
  };
}

/** Changes stored rows past the triggers, which only the owner of the database can do. */
export async function tamper(store: Store, statement: string): Promise<void> {
  await sql.raw('alter table audit disable trigger all').execute(store.db);
  await sql.raw('alter table audit_checkpoints disable trigger all').execute(store.db);
  await sql.raw(statement).execute(store.db);
  await sql.raw('alter table audit enable trigger all').execute(store.db);
  await sql.raw('alter table audit_checkpoints enable trigger all').execute(store.db);
}

/** Recomputes the hash chain from a row on, as a forger who knows the format would. @param from seq of the first row to change */
export async function rehash(store: Store, from: number): Promise<void> {
  const rows = await store.db.selectFrom('audit').selectAll().orderBy('seq').execute();
  let previous = '0'.repeat(64);
  for (const row of rows) {
    const seq = Number(row.seq);
    const sealed = { ...row, seq, time: row.time.toISOString(), previous };
    const hash = rowHash(sealed);
    if (seq >= from)
      await tamper(store, `update audit set hash = '${hash}', previous = '${previous}' where seq = ${seq}`);
    previous = hash;
  }
}

export async function lines(log: AuditExport): Promise<string[]> {
  const all: string[] = [];
  for await (const line of serializeExport(log)) all.push(line.slice(0, -1));
  return all;
}

export async function verifyLines(all: readonly string[], options?: VerifyOptions) {
  async function* each() {
    yield* all;
  }
  return await verifyExport(await readExport(each()), options);
}

/** A new log for each test; all tests of a file share its store. */
export interface LogWorld {
  readonly kind: (typeof ENGINES)[number][0];
  readonly dir: string;
  readonly options: StoreOptions;
  store: Store;
  readonly log: Log;
}

/** Declares these tests for each engine that this machine has. */
export function describeLog(tests: (world: LogWorld) => void): void {
  describe.each(ENGINES)('the audit log on %s', (kind, there) => {
    if (!there) {
      it.skip('is not tested here: no PostgreSQL programs and no DATABASE_URL', () => {});
      return;
    }
    let postgres: TestPostgres | undefined;
    const world = { kind } as { -readonly [K in keyof LogWorld]: LogWorld[K] };
    beforeAll(async () => {
      world.dir = mkdtempSync(join(tmpdir(), 'meshpass-audit-'));
      if (kind === 'postgres') postgres = startPostgres();
      world.options = postgres ? { dataDir: world.dir, databaseUrl: postgres.url } : await reusedStore(world.dir);
      world.store = await openStore(world.options);
    }, SLOW);
    beforeEach(async () => {
      const { store, dir } = world;
      await tamper(store, 'truncate audit, audit_checkpoints');
      for (const table of ['audit_cuts', 'audit_restores']) {
        await sql.raw(`alter table ${table} disable trigger all`).execute(store.db);
        await sql.raw(`truncate ${table}`).execute(store.db);
        await sql.raw(`alter table ${table} enable trigger all`).execute(store.db);
      }
      for (const file of ['audit-key.pem', 'audit-checkpoint']) rmSync(join(dir, file), { force: true });
      written = 0;
      world.log = await openLog(store, dir);
    });
    afterAll(async () => {
      await world.store?.close();
      await releaseStore(world.dir);
      postgres?.stop();
      rmSync(world.dir, { recursive: true, force: true });
    });
    tests(world);
  });
}
