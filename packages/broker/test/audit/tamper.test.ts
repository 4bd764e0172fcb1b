import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { parseVerifier } from '../../src/audit/checkpoint/note.ts';
import { fileSink } from '../../src/audit/checkpoint/sink.ts';
import { verifyExport } from '../../src/audit/export/verify.ts';
import { rowHash, type SealedRow } from '../../src/audit/log/chain.ts';
import { verifyStoredLog } from '../../src/audit/restore/admit.ts';
import { APPEND_ONLY_VIOLATION } from '../../src/store/schema.ts';
import { describeLog, lines, openLog, rehash, tamper, verifyLines } from '../harness/audit-log.ts';

describeLog((world) => {
  it('verifies, with every checkpoint that was signed on the way', async () => {
    const { log } = world;
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
    const { log, store } = world;
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
      await expect(sql.raw(statement).execute(store.db), statement).rejects.toMatchObject({
        code: APPEND_ONLY_VIOLATION,
      });
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
      ['Row 5 is row 7 with a different number.', 'Row 7 is row 5 with a different number.'],
    ],
  ])('finds a row that was %s', async (_how, statement, problems) => {
    const { log, store } = world;
    await log.write(10);
    await log.checkpoints.sign();
    for (const one of statement.split('; ')) await tamper(store, one);
    expect((await log.verify()).slice(0, problems.length)).toEqual(problems);
  });

  it('finds that the end was cut off, as long as the broker or an anchored checkpoint knows of it', async () => {
    const { dir, log, store } = world;
    await log.write(6);
    const { note } = await log.checkpoints.sign();
    await log.write(4);
    await tamper(store, 'delete from audit where seq > 7');
    const cutOff = 'Rows 8 to 10 were cut off: the export checkpoint covers 10 rows.';
    expect(await log.verify()).toEqual([cutOff]);
    await tamper(store, 'delete from audit where seq > 3');
    await tamper(store, 'delete from audit_checkpoints');
    // A restarted broker has the last checkpoint in a file, and does not sign another one.
    const again = await openLog(store, dir);
    await expect(again.checkpoints.sign()).rejects.toMatchObject({ code: 'audit_tampered' });
    expect(await again.verify()).toContain('Rows 4 to 10 were cut off: the export checkpoint covers 10 rows.');
    // A broker does not start without the file. Only copies elsewhere reveal an attacker who also has the key.
    rmSync(join(dir, 'audit-checkpoint'));
    const sinks = [fileSink(join(dir, 'audit-checkpoint'), log.key.verifiers)];
    await expect(verifyStoredLog(store.db, log.key, sinks)).rejects.toMatchObject({ code: 'audit_checkpoint_missing' });
    const forged = await openLog(store, dir);
    expect(await forged.verify()).toEqual([]);
    expect(await forged.verify({ anchored: [{ label: 'checkpoint.txt', note }] })).toEqual([
      'Rows 4 to 6 were cut off: checkpoint.txt covers 6 rows.',
    ]);
  });

  it('finds a row that was replaced together with its hash', async () => {
    const { log, store } = world;
    await log.write(8);
    await tamper(store, `update audit set subject = 'mallory' where seq = 5`);
    const row = (await store.db.selectFrom('audit').selectAll().where('seq', '=', '5').executeTakeFirst())!;
    const hash = rowHash({ ...row, seq: 5, time: row.time.toISOString() } as SealedRow);
    await tamper(store, `update audit set hash = '${hash}' where seq = 5`);
    expect((await log.verify())[0]).toBe('Row 5 is not the one that row 6 was chained to.');
  });

  it('finds rewritten rows with recomputed hashes, between two checkpoints', async () => {
    const { dir, log, store } = world;
    await log.write(4);
    await log.checkpoints.sign();
    await log.write(4);
    const { note } = await log.checkpoints.sign();
    await log.write(4);
    await tamper(store, `update audit set subject = 'mallory' where seq = 6`);
    await rehash(store, 6);
    expect((await log.verify())[0]).toMatch(/^A row from 5 to 8 differs from what was signed/);
    // Without the checkpoints of the store it is the anchored one.
    await tamper(store, 'delete from audit_checkpoints');
    rmSync(join(dir, 'audit-checkpoint'));
    const again = await openLog(store, dir);
    expect(await again.verify()).toEqual([]);
    const [problem] = await again.verify({ anchored: [{ label: 'Checkpoint of May', note }] });
    expect(problem).toMatch(/^A row from 1 to 8 .*checkpoint of may/);
  });

  it('continues writing after rows were deleted behind its back, and will not sign them', async () => {
    const { log, store } = world;
    await log.write(3);
    await log.checkpoints.sign();
    await tamper(store, 'delete from audit where seq = 3');
    await log.write(1);
    await expect(log.checkpoints.sign()).rejects.toMatchObject({ code: 'audit_tampered' });
    expect((await log.verify()).length).toBeGreaterThan(0);
  });

  it('verifies from an export, and detects changes of the file', async () => {
    const { dir, log } = world;
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
    const stranger = await openAuditKey(join(dir, `stranger-${world.kind}.pem`), 'https://broker.example', true);
    const report = await verifyLines(all, { keys: stranger.verifiers });
    expect(report.problems.map((one) => one.kind)).toEqual(['unsigned', 'unsigned']);
  });
});
