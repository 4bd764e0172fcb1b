/** Provides the audit log to operators, who can read and prune it. */
import { sql } from 'kysely';
import { z } from 'zod';
import type { Store } from '../store/index.ts';
import { exportLog, serializeExport } from './export/export.ts';
import type { CheckpointSigner } from './log/checkpoint-signer.ts';
import type { AuditEvent } from './log/event.ts';
import { type PruneContext, prune } from './log/prune.ts';
import { toSealedRow } from './log/rows.ts';

/** The query parameters of `GET /audit`, which select a page of rows. */
export const AuditQuery = z.object({
  /** Returns the rows that follow the row with this number, in the order in which they were written. */
  after: z.coerce.number().int().nonnegative().default(0),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  /** Returns this many of the most recent rows instead. */
  last: z.coerce.number().int().min(1).max(1000).optional(),
  session: z.string().max(64).optional(),
  decision: z.string().max(64).optional(),
});
/** Reads and prunes the audit log. Every function throws an error if the store fails. */
export type AuditTrail = ReturnType<typeof createAuditTrail>;

export interface AuditTrailOptions extends PruneContext {
  readonly checkpoints: CheckpointSigner;
}

/** Creates the functions with which operators read and prune the log. */
export function createAuditTrail(options: AuditTrailOptions) {
  const { store, checkpoints, key } = options;
  const { db } = store;
  return {
    page: (query: z.infer<typeof AuditQuery>) => readPage(store, query),
    /** Exports all rows after `after` as lines, each ending with a newline. */
    exportAfter: async (after: number) => serializeExport(await exportLog({ db, key, checkpoints }, after)),
    /**
     * Returns a signed checkpoint that covers all durable rows.
     * @throws MeshpassError `audit_tampered`, `store_unavailable`, `kubernetes_unavailable`
     */
    checkpoint: async () => (await checkpoints.sign()).note,
    /** Returns the public keys that verify the log. */
    verifiers: () => key.verifiers.map(({ text }) => text),
    restores: async () => {
      const rows = await db.selectFrom('audit_restores').selectAll().orderBy('epoch').execute();
      return rows.map(({ epoch, note, time }) => ({ epoch, note, time: time.toISOString() }));
    },
    /**
     * Deletes all rows older than a point in time.
     * @throws MeshpassError `audit_retained`, `audit_tampered`, `request_malformed`, `store_unavailable`, `overloaded`
     */
    prune: (before: Date, event: AuditEvent) => prune(options, before, event),
  };
}

async function readPage({ db }: Store, { after, limit, last, session, decision }: z.infer<typeof AuditQuery>) {
  const rows = await db
    .selectFrom('audit')
    .selectAll()
    .where('seq', '>', String(after))
    // Omit pruned rows even if they have not been deleted yet.
    .where('seq', '>', sql<string>`(select coalesce(max(size), 0) from audit_cuts)`)
    .$if(session !== undefined, (query) => query.where('session_id', '=', session!))
    .$if(decision !== undefined, (query) => query.where('id', '=', decision!))
    .orderBy('seq', last === undefined ? 'asc' : 'desc')
    .limit(last ?? limit)
    .execute();
  return (last === undefined ? rows : rows.reverse()).map(toSealedRow);
}
