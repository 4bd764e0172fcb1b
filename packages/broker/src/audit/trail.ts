/** The audit log as seen by operators, who can read and prune it. */
import { sql } from 'kysely';
import type { Clock } from '../base/index.ts';
import type { Store } from '../store/index.ts';
import type { AuditKey } from './checkpoint/key.ts';
import { exportLines, exportLog } from './export/export.ts';
import type { SealedRow } from './log/chain.ts';
import type { CheckpointSigner } from './log/checkpoint-signer.ts';
import type { AuditContext, Outcome } from './log/decision.ts';
import type { AuditEvent } from './log/event.ts';
import type { Chain } from './log/log-end.ts';
import { type Pruned, prune } from './log/prune.ts';
import { sealedRow } from './log/rows.ts';

/** Selection of a page of rows. */
export interface AuditPageQuery {
  /** Selects rows after this one, in the order of writing. */
  readonly after: number;
  readonly limit: number;
  /** Selects this many of the last rows instead. */
  readonly last?: number | undefined;
  /** Id of a session. */
  readonly session?: string | undefined;
  /** Id of a decision. */
  readonly decision?: string | undefined;
}

/** Reading and pruning of the log. All functions throw store errors. */
export interface AuditTrail {
  readonly page: (query: AuditPageQuery) => Promise<readonly SealedRow[]>;
  /** Returns the lines of an export of all rows after `after`, each including its line break. */
  readonly exportAfter: (after: number) => Promise<AsyncGenerator<string>>;
  /**
   * Returns a signed checkpoint over all durable rows.
   * @throws MeshpassError `audit_tampered`, `store_unavailable`, `kubernetes_unavailable`
   */
  readonly checkpoint: () => Promise<string>;
  /** Returns the public keys that verify the log. */
  readonly verifiers: () => readonly string[];
  readonly restores: () => Promise<readonly { readonly epoch: number; readonly note: string; readonly time: string }[]>;
  /**
   * Deletes the rows before a time.
   * @returns a refusal with `audit_retained`, `audit_tampered`, `request_malformed` or `store_unavailable`
   */
  readonly prune: (before: Date, asked: AuditEvent) => Promise<Outcome<Pruned>>;
}

export interface AuditTrailOptions {
  readonly audit: AuditContext;
  readonly store: Store;
  readonly chain: Chain;
  readonly checkpoints: CheckpointSigner;
  readonly key: AuditKey;
  readonly clock: Clock;
  /** Rows younger than this are never pruned. */
  readonly retainSeconds: number;
}

/** Creates the operators' view of the log. */
export function createAuditTrail(options: AuditTrailOptions): AuditTrail {
  const { store, checkpoints, key } = options;
  const { db } = store;
  return {
    page: (query) => readPage(store, query),
    exportAfter: async (after) => exportLines(await exportLog({ db, key, checkpoints }, after)),
    checkpoint: async () => (await checkpoints.sign()).note,
    verifiers: () => key.verifiers.map(({ text }) => text),
    restores: async () => {
      const rows = await db.selectFrom('audit_restores').selectAll().orderBy('epoch').execute();
      return rows.map(({ epoch, note, time }) => ({ epoch, note, time: time.toISOString() }));
    },
    prune: (before, asked) => prune(options, before, asked),
  };
}

async function readPage({ db }: Store, { after, limit, last, session, decision }: AuditPageQuery) {
  let query = db
    .selectFrom('audit')
    .selectAll()
    .where('seq', '>', String(after))
    // Omits pruned rows, even while they are being deleted.
    .where('seq', '>', sql<string>`(select coalesce(max(size), 0) from audit_cuts)`);
  if (session !== undefined) query = query.where('session_id', '=', session);
  if (decision !== undefined) query = query.where('id', '=', decision);
  const rows =
    last === undefined
      ? await query.orderBy('seq').limit(limit).execute()
      : (await query.orderBy('seq', 'desc').limit(last).execute()).reverse();
  return rows.map(sealedRow);
}
