import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createJournal, type Entry } from '../../src/audit/log/journal.ts';
import { openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { readStore } from '../harness/audit.ts';
import { openingOf, openingRow } from '../harness/opening.ts';
import { ENGINES, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 60_000;

function opening(id: string, workspace = id): Entry {
  const { opened, audit } = openingOf(id, workspace);
  const principal = {
    ...{ session_id: id, grant_name: 'dev', namespace: 'meshpass-dev', service_account: id, spiffe_id: id },
    ...{ last_not_after: null, revoked_at: null },
  };
  return { opened: { ...opened, principals: [principal] }, audit };
}

const soon = () => new Date(Date.now() + 60_000).toISOString();
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'written',
    (error) => error.code as string,
  );

/** Writes in another process until it is killed, then looks at what is there. */
async function killWhileWriting(options: StoreOptions) {
  const args = [fileURLToPath(new URL('../harness/write-until-killed.ts', import.meta.url)), options.dataDir];
  if (options.databaseUrl) args.push(options.databaseUrl);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
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
    const journal = createJournal({ store, observe: (entries) => batches.push(entries) });
    await Promise.all(Array.from({ length: 100 }, (_, n) => journal.write(opening(`group-${n}`))));
    expect(batches.reduce((a, b) => a + b)).toBe(100);
    expect(batches.length).toBeLessThan(10);
    const { count } = await store.db
      .selectFrom('sessions')
      .select((eb) => eb.fn.countAll().as('count'))
      .where('id', 'like', 'group-%')
      .executeTakeFirstOrThrow();
    expect(Number(count)).toBe(100);
  });

  it('takes a proof once, in one batch and over several', async () => {
    const journal = createJournal({ store });
    const entry = (id: string): Entry => ({ ...opening(id), replay: { key: 'the-proof', expiresAt: soon() } });
    const other = journal.write({ ...opening('other'), replay: { key: 'another-proof', expiresAt: soon() } });
    const answers = await Promise.all(['r1', 'r2', 'r3'].map((id) => codeOf(journal.write(entry(id)))));
    expect(answers).toEqual(['written', 'proof_replayed', 'proof_replayed']);
    await other;
    const again = [codeOf(journal.write(entry('r4'))), codeOf(journal.write(opening('innocent')))];
    expect(await Promise.all(again)).toEqual(['proof_replayed', 'written']);
    const rows = await store.db.selectFrom('audit').select('session_id').where('session_id', 'like', 'r%').execute();
    expect(rows).toEqual([{ session_id: 'r1' }]);
  });

  it('refuses the entry that is at fault, not those that share its batch', async () => {
    const journal = createJournal({ store });
    const bad: Entry = { ...opening('bad'), audit: [{ ...openingRow('bad'), outcome: 'no such outcome' }] };
    const answers = await Promise.all([
      codeOf(journal.write(opening('good-1'))),
      codeOf(journal.write(bad)),
      codeOf(journal.write(opening('good-2'))),
    ]);
    expect(answers).toEqual(['written', 'store_unavailable', 'written']);
    const rows = await store.db
      .selectFrom('sessions')
      .select('id')
      .where('id', 'in', ['good-1', 'bad', 'good-2'])
      .execute();
    expect(rows.map(({ id }) => id).sort()).toEqual(['good-1', 'good-2']);
  });

  it('writes entries of one batch that change the same request for approval, in their order, and what is settled stays so', async () => {
    const journal = createJournal({ store });
    const at = soon();
    const request = (id: string, state: string): Entry => {
      const asked = { id, session_id: 's', issuer: 'i', subject: 's', login: 'l', workspace: 'w', identities: '[]' };
      const terms = { grant_name: 'dev', seconds: '60', reason: null, asked_at: at, answer_by: at, needed: '1' };
      const answered = { state, answers: '[]', until: null, review_state: null, review: null };
      return { approvals: [{ ...asked, ...terms, ...answered }], audit: [] };
    };
    const answers = await Promise.all([
      ...['approved', 'pending', 'denied', 'pending'].map((state) => codeOf(journal.write(request('twice', state)))),
      codeOf(journal.write({ ...opening('beside'), replay: { key: 'proof-beside', expiresAt: soon() } })),
    ]);
    expect(answers).toEqual(Array.from({ length: 5 }, () => 'written'));
    expect(await store.db.selectFrom('approval_requests').select(['id', 'state']).execute()).toEqual([
      { id: 'twice', state: 'denied' },
    ]);
  });

  it('has one live session a workspace, and lets no lost one block it', async () => {
    const journal = createJournal({ store });
    await journal.write(opening('lost', 'codespace:1'));
    await journal.write(opening('next', 'codespace:1'));
    const live = await store.db
      .selectFrom('sessions')
      .select('id')
      .where('workspace_key', '=', 'codespace:1')
      .where('closed_at', 'is', null)
      .execute();
    expect(live).toEqual([{ id: 'next' }]);
  });

  it('keeps the latest end of a principal’s certificates', async () => {
    const journal = createJournal({ store });
    await journal.write(opening('certified'));
    const end = (seconds: number) => ({
      session_id: 'certified',
      grant_name: 'dev',
      spiffe_id: 'certified',
      last_not_after: new Date(1_800_000_000_000 + seconds * 1000).toISOString(),
    });
    await Promise.all([10, 30, 20].map((n) => journal.write({ certificates: [end(n)], audit: [] })));
    await journal.write({ certificates: [end(5)], audit: [] });
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
    expect(await codeOf(journal.write(opening('too-late')))).toBe('store_unavailable');
    await store.lost;
    expect(store.isLeader()).toBe(false);
    await store.close();
    store = await openStore(options);
    const rows = await store.db.selectFrom('sessions').select('id').where('id', '=', 'too-late').execute();
    expect(rows).toEqual([]);
  });

  it('refuses more than it can hold', async () => {
    const journal = createJournal({ store });
    const all = Array.from({ length: 9_000 }, () => codeOf(journal.write({ audit: [] })));
    const answers = await Promise.all(all);
    expect(answers.filter((answer) => answer === 'overloaded').length).toBeGreaterThan(0);
    expect(await codeOf(journal.write({ audit: [] }))).toBe('written');
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
      'refuses while the database is away, and goes on when it is back',
      async () => {
        const journal = createJournal({ store });
        postgres!.crash?.();
        expect(await codeOf(journal.write(opening('while-away')))).toBe('store_unavailable');
        postgres!.start?.();
        expect(await codeOf(journal.write(opening('back')))).toBe('written');
      },
      SLOW,
    );

  if (kind === 'pglite') {
    it('is not opened by two processes', async () => {
      await expect(openStore(options)).rejects.toMatchObject({ code: 'store_unavailable' });
    });

    it('that cannot be opened says where it is, and why', async () => {
      const dataDir = join(dir, 'a-file/data');
      writeFileSync(join(dir, 'a-file'), '');
      const message = `The embedded store in ${dataDir} could not be opened: a part of its path is not a directory.`;
      await expect(openStore({ dataDir })).rejects.toMatchObject({ code: 'store_unavailable', message });
    });

    it('is opened again after a crash that left its lock behind', async () => {
      await store.close();
      writeFileSync(join(dir, 'meshpass.lock'), 'another-boot 1 12345');
      store = await openStore(options);
      expect(store.epoch).toBeGreaterThan(1);
    });

    it('keeps its write-ahead log short', async () => {
      await expect(store.maintain()).resolves.toBeUndefined();
    });
  }
});
