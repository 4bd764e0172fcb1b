import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Hex } from '@meshpass/identity';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { type AuditKey, openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { fileSink, readKnownCheckpoints } from '../../src/audit/checkpoint/sink.ts';
import { verifyExport } from '../../src/audit/export/verify.ts';
import { deletePruned } from '../../src/audit/log/rows.ts';
import { acceptRestore } from '../../src/audit/restore/accept-restore.ts';
import { verifyStoredLog } from '../../src/audit/restore/admit.ts';
import { surveyRestore } from '../../src/audit/restore/survey-restore.ts';
import type { Store } from '../../src/store/open.ts';
import { describeLog, openLog, START, tamper } from '../harness/audit-log.ts';

/** Keeps the epoch, so that this store stays active: it would stop at its next look, because a restore skips epochs. */
async function keepLeading({ db }: Store): Promise<void> {
  const body = sql.lit('begin new.epoch := old.epoch; return new; end');
  await sql`create or replace function keep_epoch() returns trigger language plpgsql as ${body}`.execute(db);
  await sql`create or replace trigger keep_epoch before update on broker_epoch for each row execute function keep_epoch()`.execute(
    db,
  );
}

describeLog((world) => {
  it('prunes, verifies from the cut, and writes an audit row about it', async () => {
    const { dir, log, store } = world;
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
      from: 1,
      size: 8,
      rows: 8,
      root: expect.stringMatching(/^[0-9a-f]{64}$/),
      checkpoint: sha256Hex(pruned.note),
    });
    expect(last!.reason).toBe('Requested by an operator.');
    // A checkpoint over pruned rows cannot be checked, which the export reports.
    expect(await log.verify({ anchored: [{ label: 'old.txt', note: before }] })).toEqual([
      'old.txt covers the first 6 rows, but the export lacks the rows up to 8.',
    ]);
    await log.write(3);
    expect(await log.prune(new Date(START + 14_000))).toMatchObject({ size: 14, rows: 6 });
    const next = await openLog(store, dir);
    await next.write(2);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, prunedUpTo: 14, first: 15 });
  });

  it('prunes after a declared restore, and still reports the gap', async () => {
    const { dir, log, store } = world;
    await log.write(6);
    await log.checkpoints.sign();
    await tamper(store, 'delete from audit where seq > 4');
    await tamper(store, 'delete from audit_checkpoints');
    const sinks = [fileSink(join(dir, 'audit-checkpoint'), log.key.verifiers)];
    const survey = await surveyRestore(store.db, log.key, await readKnownCheckpoints(sinks, log.key.verifiers));
    const order = { by: 'olga', reason: 'the disk broke' };
    await keepLeading(store);
    await acceptRestore({ store, key: log.key, sinks }, survey, order, log.clock, randomBytes);
    const next = await openLog(store, dir);
    await next.write(5);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, gaps: [{ missing: [5, 6], row: 5 }] });
    expect(await next.prune(new Date(START + 10_000))).toMatchObject({ rows: 8 });
    const report = await verifyExport(await next.export());
    expect(report).toMatchObject({ ok: true, prunedUpTo: 8, gaps: [{ missing: [5, 6], row: undefined }] });
    expect((await verifyStoredLog(store.db, log.key, sinks)).key.origin).toBe('broker.example/audit/2');
  });

  it('continues after a restore, a pruning and the loss of its key, once declared', async () => {
    const { dir, log, store } = world;
    await keepLeading(store);
    const declare = async (key: AuditKey, reason: string) => {
      const sinks = [fileSink(join(dir, 'audit-checkpoint'), key.verifiers)];
      const survey = await surveyRestore(store.db, key, await readKnownCheckpoints(sinks, key.verifiers));
      await acceptRestore({ store, key, sinks }, survey, { by: 'olga', reason }, log.clock, randomBytes);
      return { sinks, survey };
    };
    await log.write(6);
    await log.checkpoints.sign();
    await declare(log.key, 'an old backup');
    const restored = await openLog(store, dir);
    await restored.write(8);
    expect(await restored.prune(new Date(START + 4_000))).toMatchObject({ size: 3 });
    await restored.checkpoints.sign();

    rmSync(join(dir, 'audit-key.pem'));
    const key = await openAuditKey(join(dir, 'audit-key.pem'), 'https://broker.example', true);
    const { sinks, survey } = await declare(key, 'the key was lost');
    expect(survey).toMatchObject({ fault: { code: 'audit_checkpoint_invalid' }, epoch: 3, unproven: [1, 16] });
    expect((await verifyStoredLog(store.db, key, sinks)).key.origin).toBe('broker.example/audit/3');
    const next = await openLog(store, dir);
    await next.write(2);
    const gaps = [{ epoch: 3, unproven: [1, 16], reason: 'the key was lost' }];
    expect(await verifyExport(await next.export())).toMatchObject({ problems: [], prunedUpTo: 3, gaps });
    // A verifier with the public half of the lost key also sees the earlier restore.
    const keys = [...key.verifiers, ...log.key.verifiers];
    const both = await verifyExport(await next.export(), { keys });
    expect(both).toMatchObject({ problems: [], prunedUpTo: 3, gaps: [{ epoch: 2 }, ...gaps] });
    // Rows that were adopted without proof may not change from then on.
    await tamper(store, `update audit set reason = 'another' where seq = 5`);
    expect(await next.verify()).toEqual(['Row 5 was changed: its hash does not match its content.']);
  });

  it('accepts no checkpoint as a cut, and no cut without its row in the log', async () => {
    const { dir, log, store } = world;
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

  it('keeps rows younger than the retention, for every caller, and the row of a pruning', async () => {
    const { log, store } = world;
    await log.write(6);
    for (const date of [START + 1, START + 5_000])
      await expect(log.prune(new Date(date), 3_600)).rejects.toMatchObject({ code: 'audit_retained' });
    expect(await log.prune(new Date(START + 4_000), 2)).toMatchObject({ rows: 3 });
    // Right after a pruning, no checkpoint covers its own row yet.
    await expect(log.prune(new Date(START + 5_000), 2)).rejects.toMatchObject({ code: 'audit_retained' });
    const rows = await store.db.selectFrom('audit').select(['action', 'outcome', 'code']).orderBy('seq').execute();
    expect(rows.filter(({ action }) => action === 'audit.prune')).toEqual([
      ...Array(2).fill({ action: 'audit.prune', outcome: 'refused', code: 'audit_retained' }),
      { action: 'audit.prune', outcome: 'allowed', code: null },
      { action: 'audit.prune', outcome: 'refused', code: 'audit_retained' },
    ]);
    expect(await log.verify()).toEqual([]);
  });

  it('refuses to prune future rows', async () => {
    const { log, store } = world;
    await log.write(2);
    await expect(log.prune(new Date(START + 3_600_000))).rejects.toMatchObject({ code: 'request_malformed' });
    const rows = await store.db.selectFrom('audit').select(['action', 'outcome']).orderBy('seq').execute();
    expect(rows.at(-1)).toEqual({ action: 'audit.prune', outcome: 'refused' });
    expect(await log.verify()).toEqual([]);
  });
});
