/** A database that was cut or set back, brokers that start on it or take over, and the way out: all with real processes. */
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createCsr } from '@meshpass/identity';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { parseVerifier } from '../../src/audit/checkpoint/note.ts';
import { type AuditExport, readExport } from '../../src/audit/export/export.ts';
import { verifyExport } from '../../src/audit/export/verify.ts';
import { PUBLIC_URL } from '../harness/broker.ts';
import { type BrokerProcess, type Brokers, brokersOnPostgres, type Held, until } from '../harness/brokers.ts';
import { postgresIsThere } from '../harness/postgres.ts';
import type { Beside } from '../harness/serve-beside.ts';

const SLOW = 180_000;
const MAIN = fileURLToPath(new URL('../../../cli/src/main.ts', import.meta.url));
const ROOT = '/usr/lib/postgresql';

describe.skipIf(!postgresIsThere)('a broker on PostgreSQL', () => {
  let brokers: Brokers;
  let first: BrokerProcess;

  beforeEach(async () => {
    brokers = await brokersOnPostgres();
    first = await serving('first');
  }, SLOW);
  afterEach(() => brokers.close(), SLOW);

  async function serving(name: string, other: Partial<Beside> = {}): Promise<BrokerProcess> {
    const broker = await brokers.start(name, other);
    await until(
      () => broker.operator('/readyz'),
      ({ status }) => status === 200,
    );
    return broker;
  }
  /** @returns its error output */
  async function refused(name: string, other: Partial<Beside> = {}): Promise<string> {
    const broker = await brokers.start(name, other);
    let code: number | null | undefined;
    void broker.exited.then((exitCode) => {
      code = exitCode;
    });
    await until(
      async () => code !== undefined || (await broker.operator('/readyz')).status === 200,
      (isDecided) => isDecided,
    );
    expect(code, 'undefined: it serves').toBe(1);
    return broker.logged();
  }
  const checkpoint = async (of: BrokerProcess) => (await of.operator('/audit/checkpoint')).text;
  const kill = async (broker: BrokerProcess) => {
    broker.child.kill('SIGKILL');
    await broker.exited;
  };
  /** Changes that the owner of the database can make. */
  async function asOwner(...statements: string[]): Promise<void> {
    const client = new pg.Client({ connectionString: brokers.postgres.url });
    await client.connect();
    try {
      await client.query(`set session_replication_role = 'replica'`);
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  }
  async function acceptRestore(...more: string[]) {
    return await acceptRestoreWith(brokers.auditKeyFile, ...more);
  }
  async function acceptRestoreWith(auditKeyFile: string, ...more: string[]) {
    const { auditCheckpointFile, postgres, dir } = brokers;
    const child = spawn(process.execPath, [
      ...[MAIN, 'audit', 'accept-restore', '--public-url', PUBLIC_URL, '--data', join(dir, 'desk')],
      ...['--database-url', postgres.url, '--audit-key', auditKeyFile, '--audit-checkpoint', auditCheckpointFile],
      ...more,
    ]);
    const text = { out: '', err: '' };
    child.stdout.on('data', (chunk: Buffer) => (text.out += chunk));
    child.stderr.on('data', (chunk: Buffer) => (text.err += chunk));
    const [code] = (await once(child, 'close')) as [number];
    return { code, ...text };
  }

  it(
    'does not sign a log whose end was cut off, though its pod is a new one',
    async () => {
      for (const name of ['a', 'b', 'c']) await brokers.open([first], name);
      await checkpoint(first);
      await kill(first);
      await asOwner('delete from audit where seq > 2', 'delete from audit_checkpoints');
      const said = await refused('new-pod');
      expect(said).toMatch(
        /audit_log_behind Cannot extend the audit log: .*but the store has only 2\..*accept-restore/,
      );
      // It does not either if the place of the checkpoint is lost with the pod.
      const lost = await refused('newer-pod', { auditCheckpointFile: join(brokers.dir, 'nowhere') });
      expect(lost).toMatch(/audit_checkpoint_missing .*the store has 2 rows, but no checkpoint is stored outside it/);
    },
    SLOW,
  );

  it(
    'does not take over a log whose end was cut off',
    async () => {
      const second = await brokers.start('second');
      await until(
        () => second.operator('/readyz'),
        ({ text }) => text.includes('standing by'),
      );
      for (const name of ['a', 'b', 'c']) await brokers.open([first], name);
      await checkpoint(first);
      first.child.kill('SIGSTOP');
      await asOwner('delete from audit where seq > 2', 'delete from audit_checkpoints');
      await kill(first);
      await until(
        async () => second.child.exitCode !== null || (await second.operator('/readyz')).status === 200,
        (isDecided) => isDecided,
      );
      expect(second.child.exitCode, 'null: it serves').toBe(1);
      await second.exited;
      expect(second.logged()).toContain('audit_log_behind');
    },
    SLOW,
  );

  it(
    'continues after a kill between rows and their checkpoint, and begins by itself only on an empty store',
    async () => {
      await kill(first);
      first = await serving('rarely', { checkpointSeconds: 3_600 });
      const held = await Promise.all(['a', 'b', 'c', 'd'].map((name) => brokers.open([first], name)));
      await kill(first);
      first = await serving('again');
      const report = await verified(first);
      expect(report).toMatchObject({ ok: true, gaps: [] });
      expect(report.rows).toBeGreaterThan(held.length + 2);
      await kill(first);
      await asOwner('truncate audit, audit_checkpoints, sessions, session_principals');
      expect(await refused('emptied')).toMatch(/audit_log_behind .*but the store has only 0\./);
    },
    SLOW,
  );

  it(
    'starts on a restored backup only once declared; then no session returns, and the gap stays visible',
    async () => {
      const [ended, live] = [await brokers.open([first], 'ended'), await brokers.open([first], 'live')];
      const principal = await certified(first, ended);
      const before = await checkpoint(first);
      const dump = execFileSync(program('pg_dump'), ['--clean', '--if-exists', '-d', brokers.postgres.url], {
        maxBuffer: 1 << 28,
      });
      expect((await brokers.call(first, ended, 'DELETE', '/session')).status).toBe(204);
      // The mesh has a principal that the backup does not contain.
      const unknown = await certified(first, await brokers.open([first], 'later'));
      const after = await checkpoint(first);
      await kill(first);
      const script = join(brokers.dir, 'dump.sql');
      writeFileSync(script, dump);
      execFileSync(program('psql'), ['-q', '-v', 'ON_ERROR_STOP=1', '-d', brokers.postgres.url, '-f', script]);

      expect(await refused('restored')).toMatch(
        /audit_log_behind .*database was restored from a backup.*accept-restore/,
      );
      const shown = await acceptRestore();
      expect(shown.code).toBe(2);
      expect(await acceptRestore('--dry-run')).toEqual({ code: 0, err: '', out: shown.out });
      expect(shown.out).toMatch(/^MISSING: +3 signed rows, \d+ to \d+$/m);
      expect(shown.out).toMatch(/^Sessions that end: +2,/m);
      expect(await refused('looked')).toContain('audit_log_behind');
      expect(await acceptRestore('--yes')).toMatchObject({ code: 2, out: '' });
      const declared = await acceptRestore('--yes', '--reason', 'the disk broke', '--by', 'olga');
      expect(declared, declared.err).toMatchObject({ code: 0, err: '' });
      expect(declared.out).toMatch(/Declared in row \d+: the log continues in epoch 2; 2 sessions have ended/);

      first = await serving('declared', { principals: [unknown, principal] });
      // With it, one that is active on the store keeps others from declaring anything.
      expect(await acceptRestore('--yes', '--reason', 'again')).toMatchObject({ code: 3 });
      for (const who of [ended, live]) expect(await renewal(who)).toMatch(/^(ended|session_closed|session_unknown)$/);
      await until(first.said, (said) => said.includes(principal) && said.includes(unknown));
      await brokers.open([first], 'live');

      const rows = JSON.parse((await first.operator('/audit?limit=1000')).text).rows as Record<string, string>[];
      const telling = rows.filter(({ action }) => action === 'audit.restore');
      expect(telling).toMatchObject([{ login: 'olga', reason: 'the disk broke', outcome: 'allowed' }]);
      expect(JSON.parse(telling[0]!.detail!)).toMatchObject({ epoch: 2, checkpoint: after, code: 'audit_log_behind' });
      const closed = rows.filter(({ action }) => action === 'session.close').map((row) => row.session_id);
      expect(closed.sort()).toEqual([ended.session.id, live.session.id].sort());

      const anchored = [before, after].map((note, n) => ({ label: `anchor ${n}`, note }));
      const report = await verified(first, anchored);
      expect(report).toMatchObject({
        ok: true,
        problems: [],
        gaps: [{ epoch: 2, by: 'olga', reason: 'the disk broke' }],
      });
      expect(report.gaps[0]!.missing).toEqual([telling[0]!.seq, Number(telling[0]!.seq) + 2].map(Number));
      // The database from before the restore, once more: the checkpoints now reveal it.
      await kill(first);
      execFileSync(program('psql'), ['-q', '-v', 'ON_ERROR_STOP=1', '-d', brokers.postgres.url, '-f', script]);
      expect(await refused('set-back')).toMatch(/audit_log_behind .*older than that restore/);
      expect(await acceptRestore('--yes', '--reason', 'once more')).toMatchObject({ code: 0 });
      first = await serving('twice');
      expect(await verified(first, anchored)).toMatchObject({ ok: true, gaps: [{ epoch: 3 }] });
    },
    SLOW,
  );

  it(
    'reports a lost audit key, and continues with another once declared, even after an earlier restore',
    async () => {
      const formerKeys = (await first.operator('/audit/key')).text.trim().split('\n').map(parseVerifier);
      await brokers.open([first], 'a');
      await kill(first);
      expect(await acceptRestore('--yes', '--reason', 'a backup of the same minute')).toMatchObject({ code: 0 });
      first = await serving('declared');
      await brokers.open([first], 'b');
      const before = await checkpoint(first);
      await kill(first);

      const auditKeyFile = join(brokers.dir, 'another-audit-key.pem');
      await openAuditKey(auditKeyFile, PUBLIC_URL, true);
      expect(await refused('other-key', { auditKeyFile })).toMatch(
        /audit_checkpoint_invalid .*not signed by a trusted key\. If the audit key was changed, put the previous key back/,
      );
      const shown = await acceptRestoreWith(auditKeyFile, '--dry-run');
      expect(shown.out).toMatch(/^Not proven: +rows 1 to \d+,/m);
      expect(shown.out).toMatch(/^Epoch that begins: +3$/m);
      expect(await acceptRestoreWith(auditKeyFile, '--yes', '--reason', 'the key was lost')).toMatchObject({ code: 0 });
      first = await serving('other-key-declared', { auditKeyFile });
      await brokers.open([first], 'c');
      expect(await verified(first)).toMatchObject({ ok: true, problems: [], gaps: [{ epoch: 3 }] });
      // A holder of the former public key can still verify rows that it signed.
      const keys = [...(await exported(first)).header.keys.map(parseVerifier), ...formerKeys];
      const anchored = [{ label: 'kept elsewhere', note: before }];
      expect(await verifyExport(await exported(first), { keys, anchored })).toMatchObject({
        ok: true,
        gaps: [{ epoch: 2 }, { epoch: 3 }],
      });
      // A broker with the former key does not continue.
      await kill(first);
      expect(await refused('former-key')).toContain('audit_checkpoint_invalid');
    },
    SLOW,
  );

  /** Retries while a broker refuses the proofs of the second in which it began. @returns the code of its refusal, or the kind of its statement */
  async function renewal(who: Held): Promise<string> {
    return await until(
      async () => {
        const answer = await brokers.renew(first, who);
        return answer.kind === 'refused' ? answer.error_code : answer.kind;
      },
      (found) => found !== 'dpop_expired',
    );
  }

  async function certified(at: BrokerProcess, who: Held): Promise<string> {
    const csr = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    const answer = await brokers.call(at, who, 'POST', '/certificates', { certificates: [{ grant: 'dev', csr }] });
    expect(answer.status, answer.text).toBe(200);
    return answer.json.certificates[0].spiffe_id;
  }
});

function program(name: string): string {
  return join(ROOT, readdirSync(ROOT).sort((a, b) => Number(b) - Number(a))[0]!, 'bin', name);
}

async function exported(by: BrokerProcess): Promise<AuditExport> {
  const lines = (await by.operator('/audit/export')).text.trim().split('\n');
  async function* each() {
    yield* lines;
  }
  return await readExport(each());
}

async function verified(by: BrokerProcess, anchored: { label: string; note: string }[] = []) {
  return await verifyExport(await exported(by), { anchored });
}
