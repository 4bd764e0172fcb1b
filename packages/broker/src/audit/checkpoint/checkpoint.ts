/**
 * Formats and parses checkpoints (c2sp.org/tlog-checkpoint). A checkpoint is a signed note that contains the log's
 * name, its row count and the root of its Merkle tree.
 */
import { type NoteVerifier, openNote } from './note.ts';

/** The details of a restore, as recorded in the first checkpoint of an epoch. */
export interface Restore {
  /** The log name in the latest known checkpoint. */
  readonly of: string;
  /** The number of rows that were kept, which is every row in the restored database. */
  readonly kept: number;
  /** The number of kept rows that earlier checkpoints prove. */
  readonly agreed: number;
  /** The number of rows in the latest known checkpoint, or undefined if there is no valid checkpoint. */
  readonly signed: number | undefined;
}

export interface Checkpoint {
  readonly origin: string;
  /** The epoch of the log (epoch.ts). */
  readonly epoch: number;
  readonly size: number;
  /** The root hash in hex. In the note, it is encoded as base64. */
  readonly root: string;
  /** Whether the log was pruned up to this checkpoint. See `CUT`. */
  readonly isCut: boolean;
  /** The restore that started the epoch. Absent from later checkpoints of the epoch. */
  readonly restore?: Restore | undefined;
}

/**
 * The extension line that marks a checkpoint as a replacement for pruned rows. No other checkpoint may replace rows.
 */
const CUT = 'meshpass.dev/pruned-up-to-here';
const RESTORE = /^meshpass\.dev\/restored (\S+) kept (\d{1,15}) agreed (\d{1,15}) signed (\d{1,15}|unknown)$/;

/** Formats a checkpoint as note text. */
export function formatCheckpoint({ origin, size, root, isCut, restore }: Omit<Checkpoint, 'epoch'>): string {
  const lines = [origin, `${size}`, Buffer.from(root, 'hex').toString('base64')];
  if (isCut) lines.push(CUT);
  if (restore) {
    const { of, kept, agreed, signed } = restore;
    lines.push(`meshpass.dev/restored ${of} kept ${kept} agreed ${agreed} signed ${signed ?? 'unknown'}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Returns two ranges of rows, each given by its first and last row: the rows lost in a restore, and the rows kept even
 * though no checkpoint proves them.
 */
export function restoreGap({ kept, agreed, signed }: Pick<Restore, 'kept' | 'agreed' | 'signed'>) {
  return {
    missing: signed !== undefined && signed > kept ? ([kept + 1, signed] as const) : undefined,
    unproven: agreed < kept ? ([agreed + 1, kept] as const) : undefined,
  };
}

/** Returns the log's name in the given epoch. In the first epoch, this is the key's name. */
export function originOf([key]: readonly NoteVerifier[], epoch: number): string {
  const base = key?.name ?? '';
  return epoch === 1 ? base : `${base}/${epoch}`;
}

/**
 * Parses the epoch from a log's name.
 * @returns undefined if the name does not belong to the log of these keys
 */
export function epochOf(verifiers: readonly NoteVerifier[], origin: string): number | undefined {
  const base = originOf(verifiers, 1);
  if (origin === base) return 1;
  const epoch = Number(/\/(\d{1,9})$/.exec(origin)?.[1]);
  return epoch >= 2 && originOf(verifiers, epoch) === origin ? epoch : undefined;
}

/**
 * Verifies a note and parses the checkpoint that it contains.
 * @returns the checkpoint if one of the keys signed it for its own log; otherwise the reason why it was rejected
 */
export function readCheckpoint(
  note: string,
  verifiers: readonly NoteVerifier[],
): Checkpoint | { readonly problem: string } {
  const opened = openNote(note, verifiers);
  if ('problem' in opened) return opened;
  const [origin = '', size = '', root = '', ...more] = opened.text.slice(0, -1).split('\n');
  if (origin === '' || !/^(?:0|[1-9]\d{0,14})$/.test(size) || !/^[A-Za-z0-9+/]{43}=$/.test(root))
    return { problem: 'it is not a checkpoint' };
  const epoch = epochOf(verifiers, origin);
  if (epoch === undefined) return { problem: `it belongs to a different log, ${origin}` };
  const restore = more.map(readRestore).find((one) => one !== undefined);
  return {
    origin,
    epoch,
    size: Number(size),
    root: Buffer.from(root, 'base64').toString('hex'),
    isCut: more.includes(CUT),
    ...(restore && { restore }),
  };
}

function readRestore(line: string): Restore | undefined {
  const [, of, kept, agreed, signed] = RESTORE.exec(line) ?? [];
  if (of === undefined) return undefined;
  return { of, kept: Number(kept), agreed: Number(agreed), signed: signed === 'unknown' ? undefined : Number(signed) };
}
