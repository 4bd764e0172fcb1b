import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UPSERT_REQUESTS } from '../../src/admin/approval/rows.ts';
import type { AuditRow } from '../../src/audit/log/event.ts';
import { createJournal } from '../../src/audit/log/journal.ts';
import { APPEND_ROWS, CONSUME_PROOFS } from '../../src/audit/log/statements.ts';
import type { CollectChanges } from '../../src/audit/log/unit.ts';
import { ADD_PRINCIPALS, OPEN_SESSIONS, RECORD_EXPIRY } from '../../src/core/session-sql.ts';
import { openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { readStore } from '../harness/audit.ts';
import { openingOf, openingRow } from '../harness/opening.ts';
import { ENGINES, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 60_000;

function opening(id: string, workspace = id): CollectChanges {
  const principal = {
    session_id: id,
    grant_name: 'dev',
    namespace: 'meshpass-dev',
    service_account: id,
    spiffe_id: id,
    until: soon(),
    gained: null,
    last_not_after: null,
    revoked_at: null,
  };
  return (tx) => {
    openingOf(id, workspace)(tx);
    tx.write(ADD_PRINCIPALS, principal);
  };
}

/** Adds the use of a proof to the changes. */
const withProof =
  (key: string, changes: CollectChanges): CollectChanges =>
  (tx) => {
    changes(tx);
    tx.once({ key, expiresAt: soon() });
  };

const soon = () => new Date(Date.now() + 60_000).toISOString();
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'written',
    (error) => error.code as string,
  );

/** Starts another process that writes. */
function spawnWriter({ dataDir, databaseUrl }: StoreOptions) {
  const args = [fileURLToPath(new URL('../harness/write-until-killed.ts', import.meta.url)), dataDir];
  if (databaseUrl) args.push(databaseUrl);
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Kills a process that writes, then reads what the store has. */
async function killWhileWriting(options: StoreOptions) {
  const child = spawnWriter(options);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the writer ended by itself')));
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
      if (said.split('\n').length > 200) resolve();
    });
  });
  child.removeAllListeners('exit');
  child.kill('SIGKILL');
  await once(child, 'close');
  const acknowledged = said.split('\n').slice(0, -1);
  const { audit, sessions } = await readStore(options);
  const ids = new Set(sessions.map((session) => session.id));
  const audited = new Set(audit.map((one) => one.session_id));
  return {
    acknowledged,
    lost: acknowledged.filter((id) => !ids.has(id) || !audited.has(id)),
    halfWritten: [...ids].filter((id) => !audited.has(id)),
  };
}

describe.each(ENGINES)('the store on %s', (kind, there) => {
  if (!there) {
    it.skip('is not tested here: no PostgreSQL programs and no DATABASE_URL', () => {});
    return;
  }
  let dir: string;
  let postgres: TestPostgres | undefined;
  let options: StoreOptions;
  let store: Store;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'meshpass-store-'));
    if (kind === 'postgres') postgres = startPostgres();
    options = { dataDir: dir, databaseUrl: postgres?.url };
  }, SLOW);
  beforeEach(async () => {
    store = await openStore(options);
  }, SLOW);
  afterEach(() => store.close());
  afterAll(() => {
    postgres?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('writes the entries of many requests in few transactions', async () => {
    const batches: number[] = [];
    const journal = createJournal({ store, observe: (transactions) => batches.push(transactions) });
    await Promise.all(Array.from({ length: 100 }, (_, n) => journal.transaction(opening(`group-${n}`))));
    expect(batches.reduce((a, b) => a + b)).toBe(100);
    expect(batches.length).toBeLessThan(10);
    const { count } = await store.db
      .selectFrom('sessions')
      .select((eb) => eb.fn.countAll().as('count'))
      .where('id', 'like', 'group-%')
      .executeTakeFirstOrThrow();
    expect(Number(count)).toBe(100);
  });

  it('runs each statement once for all transactions of a batch', async () => {
    const batches: string[][] = [];
    const commit: Store['commit'] = async (steps) => {
      batches.push(steps.map(({ name }) => name));
      await store.commit(steps);
    };
    const journal = createJournal({ store: { ...store, commit } });
    const ids = Array.from({ length: 50 }, (_, n) => `counted-${n}`);
    await Promise.all(ids.map((id) => journal.transaction(withProof(id, opening(id)))));
    expect(batches).toEqual([[CONSUME_PROOFS, OPEN_SESSIONS, ADD_PRINCIPALS, APPEND_ROWS].map(({ name }) => name)]);
  });

  it('takes a proof once, in one batch and over several', async () => {
    const journal = createJournal({ store });
    const entry = (id: string) => withProof('the-proof', opening(id));
    const other = journal.transaction(withProof('another-proof', opening('other')));
    const answers = await Promise.all(['r1', 'r2', 'r3'].map((id) => codeOf(journal.transaction(entry(id)))));
    expect(answers).toEqual(['written', 'proof_replayed', 'proof_replayed']);
    await other;
    const again = [codeOf(journal.transaction(entry('r4'))), codeOf(journal.transaction(opening('innocent')))];
    expect(await Promise.all(again)).toEqual(['proof_replayed', 'written']);
    const rows = await store.db.selectFrom('audit').select('session_id').where('session_id', 'like', 'r%').execute();
    expect(rows).toEqual([{ session_id: 'r1' }]);
  });

  it.each([
    ['violates a constraint', { outcome: 'no such outcome' }],
    ['is too large for an index', { session_id: randomBytes(3_000).toString('base64') }],
    ['cannot be stored', { session_id: '\0' }],
  ])('refuses the entry whose row %s, not those that share its batch', async (what, fault) => {
    const [first, bad, second] = [`first ${what}`, `bad ${what}`, `second ${what}`];
    const journal = createJournal({ store });
    const faulty: CollectChanges = (tx) => {
      opening(bad)(tx);
      tx.audit({ ...openingRow(bad), ...fault } as AuditRow);
    };
    const answers = await Promise.all([
      codeOf(journal.transaction(opening(first))),
      codeOf(journal.transaction(faulty)),
      codeOf(journal.transaction(opening(second))),
    ]);
    expect(answers).toEqual(['written', 'store_unavailable', 'written']);
    const rows = await store.db.selectFrom('sessions').select('id').where('id', 'in', [first, bad, second]).execute();
    expect(rows.map(({ id }) => id).sort()).toEqual([first, second]);
  });

  it('writes entries of one batch that change the same request for approval, in their order, and what is settled stays so', async () => {
    const journal = createJournal({ store });
    const at = soon();
    const request = (id: string, state: string): CollectChanges => {
      const asked = { id, session_id: 's', issuer: 'i', subject: 's', login: 'l', workspace: 'w', identities: '[]' };
      const terms = { grant_name: 'dev', seconds: 60, reason: null, asked_at: at, answer_by: at, needed: 1 };
      const answered = { state, answers: '[]', until: null, review_state: null, review: null };
      return (tx) => tx.write(UPSERT_REQUESTS, { ...asked, ...terms, ...answered });
    };
    const answers = await Promise.all([
      ...['approved', 'pending', 'denied', 'pending'].map((state) =>
        codeOf(journal.transaction(request('twice', state))),
      ),
      codeOf(journal.transaction(withProof('proof-beside', opening('beside')))),
    ]);
    expect(answers).toEqual(Array.from({ length: 5 }, () => 'written'));
    expect(await store.db.selectFrom('approval_requests').select(['id', 'state']).execute()).toEqual([
      { id: 'twice', state: 'denied' },
    ]);
  });

  it('has one live session for each workspace', async () => {
    const journal = createJournal({ store });
    const own = (id: string) => codeOf(journal.transaction(opening(id, 'codespace:1')));
    expect([await own('first'), await own('second')]).toEqual(['written', 'store_unavailable']);
    const live = await store.db
      .selectFrom('sessions')
      .select('id')
      .where('workspace_key', '=', 'codespace:1')
      .where('closed_at', 'is', null)
      .execute();
    expect(live).toEqual([{ id: 'first' }]);
  });

  it("keeps the latest end of a principal's certificates", async () => {
    const journal = createJournal({ store });
    await journal.transaction(opening('certified'));
    const end = (seconds: number) => ({
      session_id: 'certified',
      grant_name: 'dev',
      spiffe_id: 'certified',
      last_not_after: new Date(1_800_000_000_000 + seconds * 1000).toISOString(),
    });
    await Promise.all([10, 30, 20].map((n) => journal.transaction((tx) => tx.write(RECORD_EXPIRY, end(n)))));
    await journal.transaction((tx) => tx.write(RECORD_EXPIRY, end(5)));
    const principal = await store.db
      .selectFrom('session_principals')
      .selectAll()
      .where('session_id', '=', 'certified')
      .executeTakeFirstOrThrow();
    expect(principal.last_not_after?.toISOString()).toBe(end(30).last_not_after);
  });

  it('writes nothing for a broker whose place another has taken', async () => {
    const journal = createJournal({ store });
    await store.db
      .updateTable('broker_epoch')
      .set((eb) => ({ epoch: eb('epoch', '+', 1) }))
      .execute();
    expect(await codeOf(journal.transaction(opening('too-late')))).toBe('store_unavailable');
    await store.lost;
    expect(store.isLeader()).toBe(false);
    await store.close();
    store = await openStore(options);
    const rows = await store.db.selectFrom('sessions').select('id').where('id', '=', 'too-late').execute();
    expect(rows).toEqual([]);
  });

  it('refuses more than it can hold', async () => {
    const journal = createJournal({ store });
    const all = Array.from({ length: 9_000 }, () => codeOf(journal.transaction(() => {})));
    const answers = await Promise.all(all);
    expect(answers.filter((answer) => answer === 'overloaded').length).toBeGreaterThan(0);
    expect(await codeOf(journal.transaction(() => {}))).toBe('written');
  });

  it(
    'loses nothing that was acknowledged when its process is killed',
    async () => {
      await store.close();
      const fresh = kind === 'postgres' ? options : { dataDir: join(dir, 'killed') };
      const first = await killWhileWriting(fresh);
      expect(first.acknowledged.length).toBeGreaterThanOrEqual(200);
      expect(first).toMatchObject({ lost: [], halfWritten: [] });
      store = await openStore(options);
    },
    SLOW,
  );

  if (kind === 'postgres')
    it(
      'does not wait longer than the timeout for a writer that is frozen in a transaction',
      async () => {
        await store.close();
        const child = spawnWriter(options);
        const database = new pg.Client({ connectionString: options.databaseUrl });
        await database.connect();
        try {
          child.stdout.resume();
          await once(child.stdout, 'data');
          const isInTransaction = async () => {
            const { rowCount } = await database.query(
              `select from pg_stat_activity where application_name = 'meshpass-broker' and state = 'idle in transaction'`,
            );
            return rowCount === 1;
          };
          // The database runs what it has received, and then waits for the commit.
          for (let tries = 0; ; tries++) {
            child.kill('SIGSTOP');
            await setTimeout(200);
            if (await isInTransaction()) break;
            expect(tries).toBeLessThan(100);
            child.kill('SIGCONT');
            await setTimeout(10);
          }
          store = await openStore(options);
          expect(await codeOf(createJournal({ store }).transaction(opening('after-frozen')))).toBe('written');
        } finally {
          child.kill('SIGKILL');
          await database.end();
        }
      },
      SLOW,
    );

  if (kind === 'postgres')
    it(
      'refuses while the database is away, and continues when it is back',
      async () => {
        const journal = createJournal({ store });
        postgres!.crash?.();
        expect(await codeOf(journal.transaction(opening('while-away')))).toBe('store_unavailable');
        postgres!.start?.();
        expect(await codeOf(journal.transaction(opening('back')))).toBe('written');
      },
      SLOW,
    );

  if (kind === 'pglite') {
    it('is not opened by two processes', async () => {
      await expect(openStore(options)).rejects.toMatchObject({ code: 'store_unavailable' });
    });

    it('that cannot be opened reports its path and the reason', async () => {
      const dataDir = join(dir, 'a-file/data');
      writeFileSync(join(dir, 'a-file'), '');
      const message = `Cannot open the embedded store in ${dataDir}: a part of its path is not a directory.`;
      await expect(openStore({ dataDir })).rejects.toMatchObject({ code: 'store_unavailable', message });
    });

    it('is opened again by the next process, which finds the file of the lock', async () => {
      const { epoch } = store;
      await store.close();
      expect(statSync(join(dir, 'meshpass-lock.sqlite')).mode & 0o777).toBe(0o600);
      store = await openStore(options);
      expect(store.epoch).toBeGreaterThan(epoch);
    });

    it('answers the current statement before it closes, and refuses those that are still waiting', async () => {
      const current = sql`select pg_sleep(0.2)`.execute(store.db);
      const waiting = codeOf(sql`select 1`.execute(store.db));
      await setTimeout(50);
      await Promise.all([store.close(), expect(current).resolves.toBeDefined()]);
      expect(await waiting).toBe('store_unavailable');
      store = await openStore(options);
    });

    it.skipIf(process.getuid?.() === 0)('is not opened if the file of the lock cannot be written', async () => {
      await store.close();
      chmodSync(join(dir, 'meshpass-lock.sqlite'), 0o400);
      await expect(openStore(options)).rejects.toMatchObject({ code: 'store_unavailable' });
      chmodSync(join(dir, 'meshpass-lock.sqlite'), 0o600);
      store = await openStore(options);
    });

    it('keeps its write-ahead log short', async () => {
      await expect(store.maintain()).resolves.toBeUndefined();
    });
  }
});
