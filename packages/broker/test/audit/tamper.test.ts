import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256Hex } from '@meshpass/identity/hash';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { inEpoch, readRestores, restoreNotes } from '../../src/audit/checkpoint/epoch.ts';
import { type AuditKey, openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { readKnownCheckpoints } from '../../src/audit/checkpoint/known-checkpoints.ts';
import { parseVerifier } from '../../src/audit/checkpoint/note.ts';
import { fileSink } from '../../src/audit/checkpoint/sink.ts';
import { type AuditExport, exportLines, exportLog, readExport } from '../../src/audit/export/export.ts';
import { type VerifyOptions, verifyExport } from '../../src/audit/export/verify.ts';
import { type Chain, createChain } from '../../src/audit/log/chain.ts';
import { type CheckpointSigner, createCheckpointSigner } from '../../src/audit/log/checkpoint-signer.ts';
import { type AuditContext, recordRefusal } from '../../src/audit/log/decision.ts';
import { auditRow, newEvent } from '../../src/audit/log/event.ts';
import { createJournal, type Journal } from '../../src/audit/log/journal.ts';
import { rowHash, type SealedRow } from '../../src/audit/log/leaf.ts';
import { type Pruned, prune } from '../../src/audit/log/prune.ts';
import { deletePruned } from '../../src/audit/log/rows.ts';
import { acceptRestore } from '../../src/audit/restore/accept-restore.ts';
import { admitLog } from '../../src/audit/restore/admit.ts';
import { surveyRestore } from '../../src/audit/restore/survey-restore.ts';
import { APPEND_ONLY } from '../../src/store/audit-guards.ts';
import { openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { afterInitdb } from '../harness/initdb.ts';
import { ENGINES, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 60_000;
const START = Date.UTC(2026, 0, 1);

/** The log of a broker, on a store that others can get at. */
interface Log {
  readonly store: Store;
  readonly key: AuditKey;
  readonly chain: Chain;
  readonly journal: Journal;
  readonly checkpoints: CheckpointSigner;
  readonly write: (rows: number) => Promise<void>;
  readonly export: (after?: number) => Promise<AuditExport>;
  readonly verify: (options?: VerifyOptions) => Promise<string[]>;
  readonly prune: (before: Date, retainSeconds?: number) => Promise<Pruned>;
}

let written = 0;

async function openLog(store: Store, dir: string): Promise<Log> {
  const first = await openAuditKey(join(dir, 'audit-key.pem'), 'https://broker.example', true);
  const { restores } = readRestores(await restoreNotes(store.db), first.verifiers);
  const key = inEpoch(first, restores.at(-1)?.epoch ?? 1);
  const sinks = [fileSink(join(dir, 'audit-checkpoint'), key.verifiers)];
  const { all, newest } = await readKnownCheckpoints(sinks, key.verifiers);
  const chain = createChain(store.db, {
    verifiers: key.verifiers,
    known: all.map(({ checkpoint }) => checkpoint),
  });
  const clock = () => START + written * 1000;
  const journal = createJournal({ store, chain });
  const checkpoints = createCheckpointSigner({
    ...{ db: store.db, chain, key, sinks, before: newest?.note, clock, onFailure: () => {} },
  });
  const exported = (after = 0) => exportLog({ db: store.db, key, checkpoints }, after);
  const context: AuditContext = { journal, clock, observe: () => {} };
  return {
    ...{ store, key, chain, journal, checkpoints },
    write: async (rows) => {
      for (let n = 0; n < rows; n++) {
        written += 1;
        const event = { ...newEvent('token.issue', { source: '192.0.2.7' }, clock, randomBytes), subject: `s${n}` };
        const detail = { text: 'ünïcödé “quotes” \u2028 \n and \\' };
        await journal.write({ audit: [auditRow({ ...event, detail }, 'allowed', 'tested', undefined, clock())] });
      }
    },
    export: exported,
    verify: async (options) => (await verifyExport(await exported(), options)).problems.map((one) => one.message),
    prune: async (before, retainSeconds = 0) => {
      const event = newEvent('audit.prune', {}, clock, randomBytes);
      const pruned = await prune({ audit: context, store, chain, key, clock, retainSeconds }, before, event);
      if (pruned.granted) return pruned.value;
      if (!pruned.recorded) await recordRefusal(context, pruned);
      throw pruned.error;
    },
  };
}

/** What who owns the database can do, and nobody else. */
async function tamper(store: Store, statement: string): Promise<void> {
  await sql.raw('alter table audit disable trigger all').execute(store.db);
  await sql.raw('alter table audit_checkpoints disable trigger all').execute(store.db);
  await sql.raw(statement).execute(store.db);
  await sql.raw('alter table audit enable trigger all').execute(store.db);
  await sql.raw('alter table audit_checkpoints enable trigger all').execute(store.db);
}

/** Makes all hashes anew, as somebody would who knows how. */
async function rehash(store: Store, from: number): Promise<void> {
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

async function lines(log: AuditExport): Promise<string[]> {
  const all: string[] = [];
  for await (const line of exportLines(log)) all.push(line.slice(0, -1));
  return all;
}

async function verifyLines(all: readonly string[], options?: VerifyOptions) {
  async function* each() {
    yield* all;
  }
  return await verifyExport(await readExport(each()), options);
}

describe.each(ENGINES)('the audit log on %s', (kind, there) => {
  if (!there) {
    it.skip('is not tested here: no PostgreSQL programs and no DATABASE_URL', () => {});
    return;
  }
  let dir: string;
  let postgres: TestPostgres | undefined;
  let options: StoreOptions;
  let store: Store;
  let log: Log;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'meshpass-audit-'));
    if (kind === 'postgres') postgres = startPostgres();
    options = { dataDir: dir, databaseUrl: postgres?.url };
    if (!postgres) await afterInitdb(dir);
    store = await openStore(options);
  }, SLOW);
  beforeEach(async () => {
    await tamper(store, 'truncate audit, audit_checkpoints');
    await sql`alter table audit_cuts disable trigger all`.execute(store.db);
    await sql`truncate audit_cuts`.execute(store.db);
    await sql`alter table audit_cuts enable trigger all`.execute(store.db);
    await sql`alter table audit_restores disable trigger all`.execute(store.db);
    await sql`truncate audit_restores`.execute(store.db);
    await sql`alter table audit_restores enable trigger all`.execute(store.db);
    for (const file of ['audit-key.pem', 'audit-checkpoint']) rmSync(join(dir, file), { force: true });
    written = 0;
    log = await openLog(store, dir);
  });
  afterAll(async () => {
    await store?.close();
    postgres?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('verifies, with every checkpoint that was signed on the way', async () => {
    for (let n = 0; n < 4; n++) {
      await log.write(3);
      await log.checkpoints.sign();
    }
    const report = await verifyExport(await log.export());
    expect(report).toMatchObject({ ok: true, rows: 12, first: 1, last: 12, checkpoints: 4, keysPinned: false });
    const pinned = await verifyExport(await log.export(), { keys: [parseVerifier(report.keys[0]!)] });
    expect(pinned).toMatchObject({ ok: true, keysPinned: true });
  });

  it('is append-only for the database', async () => {
    await log.write(3);
    await log.checkpoints.sign();
    const statements = ['audit', 'audit_checkpoints', 'audit_cuts'].flatMap((table) => [
      `truncate ${table}`,
      `update ${table} set hash = 'x'`,
    ]);
    for (const statement of [
      ...statements,
      'delete from audit',
      'delete from audit_checkpoints',
      'delete from audit_cuts',
    ])
      await expect(sql.raw(statement).execute(store.db), statement).rejects.toMatchObject({ code: APPEND_ONLY });
    expect(await log.verify()).toEqual([]);
  });

  it.each([
    [
      'changed',
      `update audit set subject = 'mallory' where seq = 5`,
      ['Row 5 was changed: its hash does not match its content.'],
    ],
    [
      'changed in time',
      `update audit set time = time + interval '1 hour' where seq = 5`,
      ['Row 5 was changed: its hash does not match its content.'],
    ],
    [
      'emptied',
      `update audit set source = null where seq = 5`,
      ['Row 5 was changed: its hash does not match its content.'],
    ],
    ['removed', 'delete from audit where seq in (4, 5)', ['Rows 4 to 5 were removed.']],
    ['removed from the beginning', 'delete from audit where seq <= 2', ['Rows 1 to 2 were removed.']],
    [
      'exchanged with another',
      'update audit set seq = case seq when 5 then 100005 else 5 end where seq in (5, 7); update audit set seq = 7 where seq = 100005',
      ['Row 5 is row 7 under another number.', 'Row 7 is row 5 under another number.'],
    ],
  ])('finds a row that was %s', async (_how, statement, problems) => {
    await log.write(10);
    await log.checkpoints.sign();
    for (const one of statement.split('; ')) await tamper(store, one);
    expect((await log.verify()).slice(0, problems.length)).toEqual(problems);
  });

  it('finds that the end was cut off, as long as the broker or an anchored checkpoint knows of it', async () => {
    await log.write(6);
    const { note } = await log.checkpoints.sign();
    await log.write(4);
    await tamper(store, 'delete from audit where seq > 7');
    const cutOff = 'Rows 8 to 10 were cut off: the checkpoint of the export covers 10 rows.';
    expect(await log.verify()).toEqual([cutOff]);
    await tamper(store, 'delete from audit where seq > 3');
    await tamper(store, 'delete from audit_checkpoints');
    // A broker that starts anew has the last checkpoint in a file, and will not sign another one.
    const again = await openLog(store, dir);
    await expect(again.checkpoints.sign()).rejects.toMatchObject({ code: 'audit_tampered' });
    expect(await again.verify()).toContain('Rows 4 to 10 were cut off: the checkpoint of the export covers 10 rows.');
    // A broker does not start without the file. Who has a copy of the key, too, is found only by what was kept elsewhere.
    rmSync(join(dir, 'audit-checkpoint'));
    const sinks = [fileSink(join(dir, 'audit-checkpoint'), log.key.verifiers)];
    await expect(admitLog(store.db, log.key, sinks)).rejects.toMatchObject({ code: 'audit_checkpoint_missing' });
    const forged = await openLog(store, dir);
    expect(await forged.verify()).toEqual([]);
    expect(await forged.verify({ anchored: [{ label: 'checkpoint.txt', note }] })).toEqual([
      'Rows 4 to 6 were cut off: checkpoint.txt covers 6 rows.',
    ]);
  });

  it('finds a row that was replaced together with its hash', async () => {
    await log.write(8);
    await tamper(store, `update audit set subject = 'mallory' where seq = 5`);
    const row = (await store.db.selectFrom('audit').selectAll().where('seq', '=', '5').executeTakeFirst())!;
    const hash = rowHash({ ...row, seq: 5, time: row.time.toISOString() } as SealedRow);
    await tamper(store, `update audit set hash = '${hash}' where seq = 5`);
    expect((await log.verify())[0]).toBe('Row 5 is not the one that row 6 was chained to.');
  });

  it('finds what was rewritten with all hashes made anew, between two checkpoints', async () => {
    await log.write(4);
    await log.checkpoints.sign();
    await log.write(4);
    const { note } = await log.checkpoints.sign();
    await log.write(4);
    await tamper(store, `update audit set subject = 'mallory' where seq = 6`);
    await rehash(store, 6);
    expect((await log.verify())[0]).toMatch(/^A row from 5 to 8 is not the one that was signed/);
    // Without the checkpoints of the store it is the anchored one.
    await tamper(store, 'delete from audit_checkpoints');
    rmSync(join(dir, 'audit-checkpoint'));
    const again = await openLog(store, dir);
    expect(await again.verify()).toEqual([]);
    const [problem] = await again.verify({ anchored: [{ label: 'Checkpoint of May', note }] });
    expect(problem).toMatch(/^A row from 1 to 8 .*checkpoint of may/);
  });

  it('goes on writing after rows that were taken away behind its back, and will not sign them', async () => {
    await log.write(3);
    await log.checkpoints.sign();
    await tamper(store, 'delete from audit where seq = 3');
    await log.write(1);
    await expect(log.checkpoints.sign()).rejects.toMatchObject({ code: 'audit_tampered' });
    expect((await log.verify()).length).toBeGreaterThan(0);
  });

  it('verifies from an export, and finds there what was done to the file', async () => {
    await log.write(5);
    await log.checkpoints.sign();
    await log.write(5);
    const all = await lines(await log.export());
    expect(await verifyLines(all)).toMatchObject({ ok: true, rows: 10 });
    const problems = async (changed: readonly string[]) => (await verifyLines(changed)).problems.map((one) => one.kind);
    const row = (n: number) => all.findIndex((line) => line.includes(`"seq":${n},`));
    expect(await problems(all.slice(0, -1))).toEqual(['truncated']);
    expect(await problems(all.toSpliced(row(4), 1))).toEqual(['removed']);
    expect(await problems(all.with(row(4), all[row(5)]!).with(row(5), all[row(4)]!))).toContain('reordered');
    expect(await problems([...all, all.at(-1)!])).toEqual(['duplicated']);
    expect(await problems(all.with(row(4), all[row(4)]!.replace('tested', 'tasted')))).toEqual(['changed']);
    expect(await problems(all.with(row(4), all[row(4)]!.replace('{', '{"more":1,')))).toContain('unreadable');
    expect(await problems(all.with(1, all[1]!.replace('example', 'exemple')))).toEqual(['unsigned']);
    const stranger = await openAuditKey(join(dir, `stranger-${kind}.pem`), 'https://broker.example', true);
    const report = await verifyLines(all, { keys: stranger.verifiers });
    expect(report.problems.map((one) => one.kind)).toEqual(['unsigned', 'unsigned']);
  });

  it('exports from any row on', async () => {
    await log.write(11);
    const report = await verifyLines(await lines(await log.export(6)));
    expect(report).toMatchObject({ ok: true, rows: 5, first: 7, last: 11 });
  });

  it('grows on from where another process left it', async () => {
    await log.write(5);
    await log.checkpoints.sign();
    await log.write(2);
    const next = await openLog(store, dir);
    await next.write(3);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, rows: 10, checkpoints: 2 });
  });

  it('writes a row once, however often it is reported, and leaves no gap for it', async () => {
    const row = () => auditRow(newEvent('tunnel', {}, Date.now, randomBytes), 'allowed', 'edge', undefined, START);
    const twice = row();
    await log.journal.write({ audit: [twice, row()] });
    await Promise.all([
      log.journal.write({ audit: [row(), twice] }),
      log.journal.write({ audit: [twice] }),
      log.journal.write({ audit: [row()] }),
    ]);
    expect(await verifyExport(await log.export())).toMatchObject({ ok: true, rows: 4, last: 4 });
  });

  it('prunes, verifies from the cut, and says in the log that it did', async () => {
    await log.write(6);
    const { note: before } = await log.checkpoints.sign();
    await log.write(6);
    const pruned = await log.prune(new Date(START + 9_000));
    expect(pruned).toMatchObject({ size: 8, rows: 8 });
    const report = await verifyExport(await log.export());
    expect(report).toMatchObject({ ok: true, prunedUpTo: 8, first: 9, last: 13, rows: 5 });
    const last = await store.db.selectFrom('audit').selectAll().orderBy('seq', 'desc').limit(1).executeTakeFirst();
    expect(last).toMatchObject({ action: 'audit.prune', outcome: 'allowed', target: '2026-01-01T00:00:09.000Z' });
    expect(JSON.parse(last!.detail!)).toMatchObject({
      ...{ from: 1, size: 8, rows: 8, root: expect.stringMatching(/^[0-9a-f]{64}$/) },
      checkpoint: sha256Hex(pruned.note),
    });
    expect(last!.subject).toBe('an operator');
    // A checkpoint over rows that are gone holds against nothing, and that is said.
    expect(await log.verify({ anchored: [{ label: 'old.txt', note: before }] })).toEqual([
      'old.txt covers the first 6 rows, and the rows up to 8 are not here.',
    ]);
    await log.write(3);
    expect(await log.prune(new Date(START + 14_000))).toMatchObject({ size: 14, rows: 6 });
    const next = await openLog(store, dir);
    await next.write(2);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, prunedUpTo: 14, first: 15 });
  });

  it('prunes after a restore that was declared, and the gap is still told', async () => {
    await log.write(6);
    await log.checkpoints.sign();
    await tamper(store, 'delete from audit where seq > 4');
    await tamper(store, 'delete from audit_checkpoints');
    const sinks = [fileSink(join(dir, 'audit-checkpoint'), log.key.verifiers)];
    const survey = await surveyRestore(store.db, log.key, await readKnownCheckpoints(sinks, log.key.verifiers));
    const order = { by: 'olga', reason: 'the disk broke' };
    const now = () => START + written * 1000;
    // The number of the writer goes on, as for every process: the test's own store keeps it.
    const { epoch } = await store.db.selectFrom('broker_epoch').select('epoch').executeTakeFirstOrThrow();
    await acceptRestore({ store, key: log.key, sinks }, survey, order, now, randomBytes);
    await store.db.updateTable('broker_epoch').set({ epoch }).execute();
    const next = await openLog(store, dir);
    await next.write(5);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, gaps: [{ missing: [5, 6], row: 5 }] });
    expect(await next.prune(new Date(START + 10_000))).toMatchObject({ rows: 8 });
    const report = await verifyExport(await next.export());
    expect(report).toMatchObject({ ok: true, prunedUpTo: 8, gaps: [{ missing: [5, 6], row: undefined }] });
    expect((await admitLog(store.db, log.key, sinks)).key.origin).toBe('broker.example/audit/2');
  });

  it('takes no checkpoint for a cut, and no cut that the log does not tell of', async () => {
    await log.write(8);
    await log.checkpoints.sign();
    await log.write(4);
    const columns = '(size, hash, peaks, note, time)';
    await sql
      .raw(`insert into audit_cuts ${columns} select size, hash, peaks, note, time from audit_checkpoints`)
      .execute(store.db);
    await deletePruned(store.db);
    const kinds = (await verifyExport(await log.export())).problems.map((one) => one.kind);
    expect(kinds).toEqual(expect.arrayContaining(['unsigned']));
    const again = await openLog(store, dir);
    await expect(again.checkpoints.sign()).rejects.toMatchObject({ code: 'audit_tampered' });
  });

  it('keeps what is younger than the retention, whoever asks, and the row that tells of a pruning', async () => {
    await log.write(6);
    for (const date of [START + 1, START + 5_000])
      await expect(log.prune(new Date(date), 3_600)).rejects.toMatchObject({ code: 'audit_retained' });
    expect(await log.prune(new Date(START + 4_000), 2)).toMatchObject({ rows: 3 });
    // Just after it has pruned, nothing reaches the row that says so.
    await expect(log.prune(new Date(START + 5_000), 2)).rejects.toMatchObject({ code: 'audit_retained' });
    const rows = await store.db.selectFrom('audit').select(['action', 'outcome', 'code']).orderBy('seq').execute();
    expect(rows.filter(({ action }) => action === 'audit.prune')).toEqual([
      ...Array(2).fill({ action: 'audit.prune', outcome: 'refused', code: 'audit_retained' }),
      { action: 'audit.prune', outcome: 'allowed', code: null },
      { action: 'audit.prune', outcome: 'refused', code: 'audit_retained' },
    ]);
    expect(await log.verify()).toEqual([]);
  });

  it('refuses to prune what is to come', async () => {
    await log.write(2);
    await expect(log.prune(new Date(START + 3_600_000))).rejects.toMatchObject({ code: 'request_malformed' });
    const rows = await store.db.selectFrom('audit').select(['action', 'outcome']).orderBy('seq').execute();
    expect(rows.at(-1)).toEqual({ action: 'audit.prune', outcome: 'refused' });
    expect(await log.verify()).toEqual([]);
  });

  it(
    'verifies after its process was killed at any moment',
    async () => {
      await store.close();
      const fresh = kind === 'postgres' ? options : { dataDir: await afterInitdb(join(dir, 'killed')) };
      try {
        for (let round = 0; round < 2; round++) {
          await writeUntilKilled(fresh, 150);
          const left = await openStore(fresh);
          const again = await openLog(left, dir);
          const report = await verifyExport(await again.export());
          await left.close();
          expect(report).toMatchObject({ ok: true });
          expect(report.rows).toBeGreaterThan(150 * (round + 1));
        }
      } finally {
        store = await openStore(options);
      }
    },
    SLOW,
  );
});

async function writeUntilKilled(options: StoreOptions, rows: number): Promise<void> {
  const args = [fileURLToPath(new URL('../harness/write-until-killed.ts', import.meta.url)), options.dataDir];
  if (options.databaseUrl) args.push(options.databaseUrl);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the writer ended by itself')));
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
      if (said.split('\n').length > rows) resolve();
    });
  });
  child.removeAllListeners('exit');
  child.kill('SIGKILL');
  await once(child, 'close');
}
