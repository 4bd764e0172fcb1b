/** World with a log on a real PostgreSQL for each input: an attacker with the database tampers with it, and a real broker starts on it. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuditKey, openAuditKey } from '@meshpass/broker/audit/checkpoint/key';
import { createNoteVerifier, signNote } from '@meshpass/broker/audit/checkpoint/note';
import { type CheckpointSink, fileSink, readKnownCheckpoints } from '@meshpass/broker/audit/checkpoint/sink';
import { exportLog, serializeExport } from '@meshpass/broker/audit/export/export';
import { createCheckpointSigner } from '@meshpass/broker/audit/log/checkpoint-signer';
import { auditRow, createAuditEvent } from '@meshpass/broker/audit/log/event';
import { createJournal } from '@meshpass/broker/audit/log/journal';
import { createAuditChain } from '@meshpass/broker/audit/log/log-end';
import { acceptRestore } from '@meshpass/broker/audit/restore/accept-restore';
import { verifyStoredLog } from '@meshpass/broker/audit/restore/admit';
import { surveyRestore } from '@meshpass/broker/audit/restore/survey-restore';
import { createLogger } from '@meshpass/broker/base/telemetry/log';
import { keyFileStorage } from '@meshpass/broker/core/token/key-storage';
import { openSigner } from '@meshpass/broker/core/token/signer';
import { parseBrokerConfig } from '@meshpass/broker/start/config';
import { serveBroker } from '@meshpass/broker/start/serve';
import { openStore } from '@meshpass/broker/store/open';
import { MeshpassError } from '@meshpass/identity';
import pg from 'pg';
import { writeCertificate } from '../../../packages/broker/test/harness/certificate.ts';
import { grant, playMesh } from '../../../packages/broker/test/harness/mesh.ts';
import { startPostgres, type TestPostgres } from '../../../packages/broker/test/harness/postgres.ts';
import type { Outcome } from '../area.ts';

export const ROWS = 12;
/** Rows after which a checkpoint was signed. */
const SIGNED: ReadonlySet<number> = new Set([4, 8, ROWS]);
const HOST = 'broker.example';

export interface AuditWorld {
  readonly postgres: TestPostgres;
  readonly dir: string;
  readonly key: AuditKey;
  /** Signs under the name of the log with an untrusted key. */
  readonly forge: (text: string) => string;
  /** Signs any content with the key of the log, including content that the broker would never sign. */
  readonly sign: (text: string) => string;
  /** Files that keep the newest checkpoint. */
  readonly places: readonly [string, string];
  /** Export of an untouched log, and export of a log with a declared restore; lines. */
  readonly evidence: Evidence;
  readonly restored: Evidence;
  /** Replaces the log by a new one. @returns its checkpoints, by size */
  readonly fresh: () => Promise<Fresh>;
  /** Runs SQL as the owner of the database. */
  readonly sql: (...statements: string[]) => Promise<Record<string, unknown>[]>;
  /** Starts a broker on the current store, and stops it. */
  readonly start: () => Promise<Outcome>;
  /** Declares a restore of the current store. */
  readonly declare: () => Promise<void>;
  readonly end: () => Promise<void>;
}

export interface Fresh {
  readonly notes: ReadonlyMap<number, string>;
}

export interface Evidence {
  readonly lines: readonly string[];
  /** Checkpoints that were taken in time, by size. */
  readonly anchors: ReadonlyMap<number, string>;
}

export async function openAuditWorld(): Promise<AuditWorld> {
  const postgres = startPostgres();
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-hostile-audit-'));
  const auditKeyFile = join(dir, 'audit-key.pem');
  const key = await openAuditKey(auditKeyFile, `https://${HOST}`, true);
  const stranger = generateKeyPairSync('ed25519');
  const strange = createNoteVerifier(key.origin, stranger.publicKey);
  const places = [join(dir, 'kept'), join(dir, 'kept-2')] as const;
  const sinks = places.map((place) => fileSink(place, key.verifiers));
  const tls = await writeCertificate(dir);
  const signer = await openSigner(keyFileStorage(join(dir, 'signing-key.pem')));
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(`set session_replication_role = 'replica'`);
  const opened = () => openStore({ dataDir: dir, databaseUrl: postgres.url });

  const world = {
    postgres,
    dir,
    key,
    places,
    forge: (text: string) => signNote(text, strange, stranger.privateKey),
    sign: (text: string) => key.sign(text),
    sql: async (...statements: string[]) => {
      let rows: Record<string, unknown>[] = [];
      for (const statement of statements) ({ rows } = await client.query(statement));
      return rows;
    },
    fresh: async () => {
      const store = await opened();
      try {
        await client.query(`truncate audit, audit_checkpoints, audit_cuts, audit_restores, sessions cascade`);
        for (const place of places) rmSync(place, { force: true });
        return { notes: await writeLog(store, key, sinks) };
      } finally {
        await store.close();
      }
    },
    start: async () => await startOn({ postgres, dir, auditKeyFile, places, tls, signer }),
    declare: async () => {
      const store = await opened();
      try {
        const survey = await surveyRestore(store.db, key, await readKnownCheckpoints(sinks, key.verifiers));
        const order = { by: 'olga', reason: 'the disk broke' };
        await acceptRestore({ store, key, sinks }, survey, order, Date.now, randomBytes);
      } finally {
        await store.close();
      }
    },
    end: async () => {
      await client.end();
      postgres.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  const exported = async (anchors: ReadonlyMap<number, string>): Promise<Evidence> => {
    const store = await opened();
    try {
      const admitted = await verifyStoredLog(store.db, key, sinks);
      const chain = createAuditChain(store.db, { verifiers: key.verifiers });
      const checkpoints = createCheckpointSigner({
        db: store.db,
        chain,
        key: admitted.key,
        sinks,
        clock: Date.now,
        onFailure: () => {},
      });
      const journal = createJournal({ store, chain });
      for (let n = 0; n < 3; n++) await journal.transaction((tx) => tx.audit(row(n)));
      const lines: string[] = [];
      for await (const line of serializeExport(await exportLog({ db: store.db, key: admitted.key, checkpoints })))
        lines.push(line.slice(0, -1));
      return { lines, anchors };
    } finally {
      await store.close();
    }
  };
  const evidence = await exported((await world.fresh()).notes);
  const { notes } = await world.fresh();
  await world.sql('delete from audit where seq > 9', 'delete from audit_checkpoints where size > 9');
  await world.declare();
  return { ...world, evidence, restored: await exported(notes) };
}

function row(n: number) {
  const event = {
    ...createAuditEvent('token.issue', { source: '192.0.2.7' }, Date.now, randomBytes),
    subject: `s${n}`,
  };
  return auditRow(event, 'allowed', 'tested', undefined, Date.now());
}

async function writeLog(
  store: Awaited<ReturnType<typeof openStore>>,
  key: AuditKey,
  sinks: readonly CheckpointSink[],
): Promise<Map<number, string>> {
  const chain = createAuditChain(store.db, { verifiers: key.verifiers });
  const journal = createJournal({ store, chain });
  const checkpoints = createCheckpointSigner({
    db: store.db,
    chain,
    key,
    sinks,
    clock: Date.now,
    onFailure: () => {},
  });
  const notes = new Map<number, string>();
  for (let n = 1; n <= ROWS; n++) {
    await journal.transaction((tx) => tx.audit(row(n)));
    if (SIGNED.has(n)) notes.set(n, (await checkpoints.sign()).note);
  }
  return notes;
}

interface StartOn {
  readonly postgres: TestPostgres;
  readonly dir: string;
  readonly auditKeyFile: string;
  readonly places: readonly [string, string];
  readonly tls: { readonly certFile: string; readonly keyFile: string };
  readonly signer: Awaited<ReturnType<typeof openSigner>>;
}

async function startOn({ postgres, dir, auditKeyFile, places, tls, signer }: StartOn): Promise<Outcome> {
  const mesh = playMesh();
  mesh.setAccess([grant('dev')]);
  const config = parseBrokerConfig({
    publicUrl: `https://${HOST}`,
    listen: { host: '127.0.0.1', port: 0 },
    operator: { host: '127.0.0.1', port: 0 },
    tls: { certFile: tls.certFile, keyFile: tls.keyFile },
    dataDir: dir,
    databaseUrl: postgres.url,
    edge: { host: 'edge.example', port: 443 },
    auditKeyFile,
    auditCheckpointFile: places[0],
  });
  try {
    const broker = await serveBroker(config, {
      authorize: mesh.authorize,
      authority: mesh.authority,
      revoker: mesh.revoker,
      mesh,
      signer,
      attest: async () => {
        throw new MeshpassError('proof_rejected', 'Nobody enrols here.');
      },
      checkpointSinks: [fileSink(places[1], (await openAuditKey(auditKeyFile, `https://${HOST}`, false)).verifiers)],
      log: createLogger('broker', 'fatal', { write: () => {} }),
    });
    await broker.close();
    return { accepted: true, answer: 'it serves' };
  } catch (thrown) {
    if (!(thrown instanceof MeshpassError)) throw thrown;
    return { accepted: false, answer: `${thrown.code} ${thrown.message}` };
  }
}

/** @returns a file's text, changed */
export function change(file: string, edit: (text: string) => string): void {
  writeFileSync(file, edit(readFileSync(file, 'utf8')));
}

/** The text that a checkpoint's signature covers, with one more line where `line` is given. */
export const checkpointText = (origin: string, size: number, root: string, line = '') =>
  `${origin}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\n${line}`;
