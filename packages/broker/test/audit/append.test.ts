import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { verifyExport } from '../../src/audit/export/verify.ts';
import { auditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { openStore, type StoreOptions } from '../../src/store/open.ts';
import { describeLog, lines, openLog, SLOW, START, verifyLines } from '../harness/audit-log.ts';
import { afterInitdb } from '../harness/store/initdb.ts';

describeLog((world) => {
  it('exports from any row on', async () => {
    const { log } = world;
    await log.write(11);
    const report = await verifyLines(await lines(await log.export(6)));
    expect(report).toMatchObject({ ok: true, rows: 5, first: 7, last: 11 });
  });

  it('continues after the last row of another process', async () => {
    const { dir, log, store } = world;
    await log.write(5);
    await log.checkpoints.sign();
    await log.write(2);
    const next = await openLog(store, dir);
    await next.write(3);
    expect(await verifyExport(await next.export())).toMatchObject({ ok: true, rows: 10, checkpoints: 2 });
  });

  it('writes a row once, however often it is reported, and leaves no gap for it', async () => {
    const { log } = world;
    const row = () =>
      auditRow(createAuditEvent('tunnel', {}, Date.now, randomBytes), 'allowed', 'edge', undefined, START);
    const twice = row();
    await log.journal.transaction((tx) => tx.audit(twice, row()));
    await Promise.all([
      log.journal.transaction((tx) => tx.audit(row(), twice)),
      log.journal.transaction((tx) => tx.audit(twice)),
      log.journal.transaction((tx) => tx.audit(row())),
    ]);
    expect(await verifyExport(await log.export())).toMatchObject({ ok: true, rows: 4, last: 4 });
  });

  it(
    'verifies after its process was killed at any moment',
    async () => {
      const { kind, dir, options } = world;
      await world.store.close();
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
        world.store = await openStore(options);
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
