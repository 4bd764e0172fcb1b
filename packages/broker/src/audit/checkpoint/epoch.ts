/**
 * Epochs of a log. A log that was restored from a backup cannot go on under its name: what was signed of it would contradict
 * what is signed next. An operator declares the restore (accept-restore.ts); the log then goes on under the name of the next
 * epoch, and the first checkpoint of that, kept for good, says what was taken over and what is missing.
 */
import type { Db } from '../../store/open.ts';
import { type Checkpoint, type Restore, readCheckpoint } from './checkpoint.ts';
import type { AuditKey } from './key.ts';
import type { NoteVerifier } from './note.ts';

/** A restore that was declared, by a signed note. */
export interface DeclaredRestore extends Restore {
  readonly epoch: number;
  /** Size and root of its checkpoint: the rows that were kept, and the row that tells of it. */
  readonly size: number;
  readonly root: string;
}

/** Name of the log in an epoch. The first has the name of the key. */
export function originOf(base: string, epoch: number): string {
  return epoch === 1 ? base : `${base}/${epoch}`;
}

/** @returns undefined where it is the name of another log */
export function epochOf(base: string, origin: string): number | undefined {
  if (origin === base) return 1;
  const [, number] = origin.startsWith(`${base}/`) ? (/^(\d{1,9})$/.exec(origin.slice(base.length + 1)) ?? []) : [];
  const epoch = Number(number);
  return number !== undefined && epoch >= 2 && originOf(base, epoch) === origin ? epoch : undefined;
}

/** @returns the key, which signs for this epoch from now on */
export function inEpoch(key: AuditKey, epoch: number): AuditKey {
  return { ...key, origin: originOf(baseOf(key.verifiers), epoch) };
}

/** Name of the log in its first epoch. */
export function baseOf(verifiers: readonly NoteVerifier[]): string {
  return verifiers[0]?.name ?? '';
}

/**
 * Whether what was signed in an epoch still speaks of the rows of today: those of an earlier epoch do as far as every restore
 * since has agreed with them.
 */
export function isInForce(
  { origin, size }: Pick<Checkpoint, 'origin' | 'size'>,
  base: string,
  restores: readonly DeclaredRestore[],
): boolean {
  const epoch = epochOf(base, origin);
  if (epoch === undefined || epoch > (restores.at(-1)?.epoch ?? 1)) return false;
  return restores.every((one) => one.epoch <= epoch || size <= one.agreed);
}

/**
 * A record that no key verifies is passed over where a later restore took its row over as one that nothing proves: its key was lost, and
 * that was declared.
 * @param notes in the order of their epochs
 * @returns the restores that these notes declare, and what is wrong with the first that does not
 */
export function readRestores(
  notes: readonly string[],
  verifiers: readonly NoteVerifier[],
): { readonly restores: readonly DeclaredRestore[]; readonly problem?: string } {
  const restores: DeclaredRestore[] = [];
  let unread: { readonly after: number; readonly size: number; readonly problem: string } | undefined;
  for (const note of notes) {
    const read = readDeclared(note, verifiers, restores.at(-1)?.epoch ?? 1);
    if ('problem' in read) {
      const { after = restores.length, size = Number.POSITIVE_INFINITY, problem = read.problem } = unread ?? {};
      unread = { after, size: Math.min(size, claimOf(note).size), problem };
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
  const { restore, size, root } = read;
  const epoch = epochOf(baseOf(verifiers), read.origin);
  if (epoch === undefined) return { problem: `it belongs to another log, ${read.origin}` };
  if (!restore || read.isCut || size !== restore.kept + 1 || restore.agreed > restore.kept)
    return { problem: 'it is not the first checkpoint of an epoch' };
  if (epoch <= after) return { problem: 'the epochs are out of order' };
  return { ...restore, epoch, size, root };
}

/** Whether a restore took this row over, and said that nothing proves it. */
export function isUnproven(row: number, restores: readonly Pick<Restore, 'agreed' | 'kept'>[]): boolean {
  return restores.some(({ agreed, kept }) => agreed < row && row <= kept);
}

/** What a note says of itself, whoever signed it. */
export function claimOf(note: string): { readonly origin: string; readonly size: number } {
  const [origin = '', size = ''] = note.split('\n', 2);
  return { origin, size: /^\d{1,15}$/.test(size) ? Number(size) : 0 };
}

/** @returns the epoch that the store says it is in, whether or not its record verifies */
export async function recordedEpoch(db: Db): Promise<number> {
  const last = await db
    .selectFrom('audit_restores')
    .select((eb) => eb.fn.max('epoch').as('epoch'))
    .executeTakeFirst();
  return last?.epoch ?? 1;
}

/** @returns the notes by which restores were declared, in their order */
export async function restoreNotes(db: Db): Promise<string[]> {
  const rows = await db.selectFrom('audit_restores').select('note').orderBy('epoch').execute();
  return rows.map(({ note }) => note);
}
