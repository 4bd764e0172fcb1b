/**
 * Epochs of a log. A log restored from a backup cannot continue under its name, because its next signatures would
 * contradict earlier ones. An operator declares the restore (accept-restore.ts), and the log continues under the next
 * epoch's name. The first checkpoint of an epoch is kept permanently. It documents which rows were kept and which are
 * missing.
 */
import type { Db } from '../../store/index.ts';
import { type Checkpoint, originOf, type Restore, readCheckpoint } from './checkpoint.ts';
import type { AuditKey } from './key.ts';
import type { NoteVerifier } from './note.ts';

/** A restore declared by a signed note. */
export interface DeclaredRestore extends Restore {
  readonly epoch: number;
  /** Size and root of the checkpoint, which covers the kept rows and the row that records the restore. */
  readonly size: number;
  readonly root: string;
}

/** Returns a copy of the key that signs with the epoch's log name. */
export function keyForEpoch(key: AuditKey, epoch: number): AuditKey {
  return { ...key, epoch, origin: originOf(key.verifiers, epoch) };
}

/** Returns the current epoch, which the last declared restore started. */
export function latestEpoch(restores: readonly DeclaredRestore[]): number {
  return restores.at(-1)?.epoch ?? 1;
}

/**
 * Whether a checkpoint still applies to the current rows. A checkpoint from an earlier epoch applies if every later
 * restore has confirmed its rows.
 */
export function isCheckpointInForce(
  { epoch, size }: Pick<Checkpoint, 'epoch' | 'size'>,
  restores: readonly DeclaredRestore[],
): boolean {
  return epoch <= latestEpoch(restores) && restores.every((one) => one.epoch <= epoch || size <= one.agreed);
}

/**
 * Parses declared restores. A record that no key can verify is skipped if a later restore kept its row as unproven. In
 * that case, the key was lost, and the loss was declared.
 * @param notes in epoch order
 * @returns the declared restores, and a description of the first invalid note's problem
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

/** Whether any restore kept this row as unproven. */
export function isUnproven(row: number, restores: readonly Pick<Restore, 'agreed' | 'kept'>[]): boolean {
  return restores.some(({ agreed, kept }) => agreed < row && row <= kept);
}

/** Reads the origin and size of a note without verifying it. */
export function parseUnverifiedNote(note: string): { readonly origin: string; readonly size: number } {
  const [origin = '', size = ''] = note.split('\n', 2);
  return { origin, size: /^\d{1,15}$/.test(size) ? Number(size) : 0 };
}

/** Reads the log's current epoch from the store, even if the record of it cannot be verified. */
export async function readEpoch(db: Db): Promise<number> {
  const last = await db
    .selectFrom('audit_restores')
    .select((eb) => eb.fn.max('epoch').as('epoch'))
    .executeTakeFirst();
  return last?.epoch ?? 1;
}

/** Reads the restores declared in the store: see readRestores(). */
export async function readStoredRestores(db: Db, verifiers: readonly NoteVerifier[]) {
  return readRestores(await readRestoreNotes(db), verifiers);
}

/** Reads the notes that declare restores, in epoch order. */
export async function readRestoreNotes(db: Db): Promise<string[]> {
  const rows = await db.selectFrom('audit_restores').select('note').orderBy('epoch').execute();
  return rows.map(({ note }) => note);
}
