/**
 * The one start that upgrades a store of a version that kept no checkpoint outside of it: there is none to hold its log against, and
 * the newest one in the store itself is taken instead, once. Who holds the database can pretend such a store; what that gains them is
 * in docs/decisions/0017.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Clock, Random } from '../../clock/clock.ts';
import type { Db, Store } from '../../store/open.ts';
import { readCheckpoint } from '../checkpoint/checkpoint.ts';
import { baseOf } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import { readKnownCheckpoints } from '../checkpoint/known-checkpoints.ts';
import type { NoteVerifier } from '../checkpoint/note.ts';
import type { CheckpointSink } from '../checkpoint/sink.ts';
import { storeInSinks } from '../log/checkpoint-signer.ts';
import { auditRow, newEvent } from '../log/event.ts';
import { rowHash, type SealedRow, seal } from '../log/leaf.ts';
import { BEGINNING, lastCut, rowsAfter } from '../log/rows.ts';
import { growTree, rootOf } from '../log/tree.ts';
import { RECOVERY_HINT } from './admit.ts';

export interface AdoptionContext {
  readonly store: Pick<Store, 'db' | 'epoch' | 'fromInsideOnly'>;
  readonly key: AuditKey;
  readonly sinks: readonly CheckpointSink[];
  readonly clock: Clock;
  readonly random: Random;
}

interface Stored {
  readonly note: string;
  readonly size: number;
  /** Hex. */
  readonly root: string;
}

/**
 * @returns to be called before admitLog(), and again where a sink did not answer. Does nothing where the store was not upgraded in
 * this start, or a sink has anything. It throws MeshpassError `audit_checkpoint_missing`, `audit_tampered`, and those of a sink
 */
export function createAdoption({ store, key, sinks, clock, random }: AdoptionContext): () => Promise<void> {
  let adopted: Stored | undefined;
  return async () => {
    if (!store.fromInsideOnly) return;
    if (!adopted) {
      const { all, invalid } = await readKnownCheckpoints(sinks, key.verifiers);
      if (all.length > 0 || invalid.length > 0) return;
      const found = await newestStored(store.db, key.verifiers);
      if (!found) return;
      const end = await walk(store.db, found);
      for (const sink of sinks) await sink.rehearse?.(found.note, { epoch: 1, size: found.size });
      const detail = { size: found.size, rows: end.seq, checkpoint: found.note, sinks: sinks.map(({ name }) => name) };
      const event = { ...newEvent('audit.adopt', {}, clock, random), target: baseOf(key.verifiers), detail };
      const row = auditRow(event, 'allowed', REASON, undefined, clock());
      // Before any sink has it: there is no adoption that the log does not tell of.
      const batch = JSON.stringify({ audit: seal([row], end) });
      await sql`select meshpass_write(${store.epoch}, ${batch}::jsonb)`.execute(store.db);
      adopted = found;
    }
    await storeInSinks(sinks, adopted.note, key, adopted.size);
  };
}

const REASON =
  'The store was upgraded from a version that stored no checkpoint outside of it: its own newest checkpoint is trusted, once.';

/** The newest of all: one that does not verify is not passed over for an older one. */
async function newestStored(db: Db, verifiers: readonly NoteVerifier[]): Promise<Stored | undefined> {
  const stored = await db
    .selectFrom('audit_checkpoints')
    .selectAll()
    .orderBy('size', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (!stored) return undefined;
  const read = readCheckpoint(stored.note, verifiers);
  if ('problem' in read) throw refused(`its own newest checkpoint is not valid: ${read.problem}`);
  const { origin, size, root, isCut } = read;
  if (origin !== baseOf(verifiers) || isCut || size === 0 || size !== Number(stored.size))
    throw refused('its own newest checkpoint is not one that the older version made of this log');
  if (root !== rootOf(JSON.parse(stored.peaks) as string[])) throw refused('its own newest checkpoint was changed');
  return { note: stored.note, size, root };
}

/** Reads the whole log. @returns its last row @throws MeshpassError where it is not the one that was signed */
async function walk(db: Db, { size, root }: Stored): Promise<{ readonly seq: number; readonly hash: string }> {
  const start = (await lastCut(db))?.start ?? BEGINNING;
  const tree = growTree(start);
  let { hash } = start;
  let rootAt = tree.size() === size ? tree.root() : undefined;
  for await (const row of rowsAfter(db, start.size, Number.MAX_SAFE_INTEGER)) {
    if (row.seq !== tree.size() + 1 || row.previous !== hash || rowHash(row) !== row.hash)
      throw refused(`row ${tree.size() + 1} is missing, or not what was written`, 'audit_tampered');
    if (isOfThisVersion(row))
      throw refused(`row ${row.seq} was written by a version that has checkpoints outside of the store`);
    tree.append(row.hash);
    hash = row.hash;
    if (tree.size() === size) rootAt = tree.root();
  }
  if (rootAt === undefined)
    throw refused(`its own checkpoint covers ${size} rows, but it has ${tree.size()}`, 'audit_tampered');
  if (rootAt !== root) throw refused(`the first ${size} rows do not match its own checkpoint`, 'audit_tampered');
  return { seq: tree.size(), hash };
}

/**
 * The signed rows tell a store that only pretends to be old: to take such a row back, the log has to be cut back to a checkpoint
 * that the older version had signed.
 */
function isOfThisVersion({ action, detail }: Pick<SealedRow, 'action' | 'detail'>): boolean {
  if (action === 'audit.adopt' || action === 'audit.restore') return true;
  return action === 'broker.start' && /"checkpoint":/.test(detail ?? '');
}

function refused(why: string, code: 'audit_checkpoint_missing' | 'audit_tampered' = 'audit_checkpoint_missing') {
  return new MeshpassError(
    code,
    `The audit log is not extended: no checkpoint is stored outside of the store, and the upgrade cannot use the store's own: ${why}. ${RECOVERY_HINT}`,
  );
}
