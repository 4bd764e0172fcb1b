/**
 * Manages the epochs of a log. A log that was restored from a backup cannot continue under its name, because its next
 * signatures would contradict earlier ones. An operator therefore declares the restore (accept-restore.ts), and the log
 * continues under the name of the next epoch. The first checkpoint of an epoch is kept permanently, because it
 * documents which rows were kept and which are missing.
 */
import type { Db } from '../../store/index.ts';
import { type Checkpoint, originOf, type Restore, readCheckpoint } from './checkpoint.ts';
import type { AuditKey } from './key.ts';
import type { NoteVerifier } from './note.ts';

/** A restore declared by a signed note. */
export interface DeclaredRestore extends Restore {
  readonly epoch: number;
  /** The size of the declared checkpoint, which covers the kept rows and the row that records the restore. */
  readonly size: number;
  readonly root: string;
}

/** Returns a copy of the key that signs with the log's name in the given epoch. */
export function keyForEpoch(key: AuditKey, epoch: number): AuditKey {
  return { ...key, epoch, origin: originOf(key.verifiers, epoch) };
}

/** Returns the current epoch, which began with the last declared restore. */
export function latestEpoch(restores: readonly DeclaredRestore[]): number {
  return restores.at(-1)?.epoch ?? 1;
}

/**
 * Whether a checkpoint still applies to the current rows. A checkpoint from an earlier epoch still applies if every
 * restore since then has confirmed its rows.
 */
export function isCheckpointInForce(
  { epoch, size }: Pick<Checkpoint, 'epoch' | 'size'>,
  restores: readonly DeclaredRestore[],
): boolean {
  return epoch <= latestEpoch(restores) && restores.every((one) => one.epoch <= epoch || size <= one.agreed);
}

/**
 * Parses the declared restores. A record that none of the keys can verify is skipped if a later restore kept its row as
 * unproven, which means that the key was lost and the loss was declared.
 * @param notes the notes that declare restores, ordered by epoch
 * @returns the declared restores, and the problem with the first invalid note, if any
 */
export function readRestores(
  notes: readonly string[],
  verifiers: readonly NoteVerifier[],
): { readonly restores: readonly DeclaredRestore[]; readonly problem?: string } {
  const restores: DeclaredRestore[] = [];
  let unread: { readonly after: number; readonly size: number; readonly problem: string } | undefined;
  for (const note of notes) {
    const read = readDeclared(note, verifiers, latestEpoch(restores));
    if ('problem' in read) {
      const { after = restores.length, size = Number.POSITIVE_INFINITY, problem = read.problem } = unread ?? {};
      unread = { after, size: Math.min(size, parseUnverifiedNote(note).size), problem };
    } else {
      if (unread && isUnproven(unread.size, [read])) unread = undefined;
      restores.push(read);
    }
  }
  if (!unread) return { restores };
  return { restores: restores.slice(0, unread.after), problem: `a declared restore is not valid: ${unread.problem}` };
}

function readDeclared(
  note: string,
  verifiers: readonly NoteVerifier[],
  after: number,
): DeclaredRestore | { readonly problem: string } {
  const read = readCheckpoint(note, verifiers);
  if ('problem' in read) return read;
  const { restore, epoch, size, root } = read;
  if (!restore || read.isCut || size !== restore.kept + 1 || restore.agreed > restore.kept)
    return { problem: 'it is not the first checkpoint of an epoch' };
  if (epoch <= after) return { problem: 'the epochs are out of order' };
  return { ...restore, epoch, size, root };
}

/** Whether any restore kept this row even though it is unproven. */
export function isUnproven(row: number, restores: readonly Pick<Restore, 'agreed' | 'kept'>[]): boolean {
  return restores.some(({ agreed, kept }) => agreed < row && row <= kept);
}

/** Parses a note's origin and size without verifying the note. */
export function parseUnverifiedNote(note: string): { readonly origin: string; readonly size: number } {
  const [origin = '', size = ''] = note.split('\n', 2);
  return { origin, size: /^\d{1,15}$/.test(size) ? Number(size) : 0 };
}

/** Reads the log's current epoch from the store, even if the note that records it cannot be verified. */
export async function readEpoch(db: Db): Promise<number> {
  const last = await db
    .selectFrom('audit_restores')
    .select((eb) => eb.fn.max('epoch').as('epoch'))
    .executeTakeFirst();
  return last?.epoch ?? 1;
}

/** Reads the restores declared in the store. See `readRestores()`. */
export async function readStoredRestores(db: Db, verifiers: readonly NoteVerifier[]) {
  return readRestores(await readRestoreNotes(db), verifiers);
}

/** Reads the notes that declare restores, ordered by epoch. */
export async function readRestoreNotes(db: Db): Promise<string[]> {
  const rows = await db.selectFrom('audit_restores').select('note').orderBy('epoch').execute();
  return rows.map(({ note }) => note);
}
