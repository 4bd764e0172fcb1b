/** Checkpoint (c2sp.org/tlog-checkpoint): a signed note with the log's name, row count and Merkle tree root. */
import { type NoteVerifier, openNote } from './note.ts';

/** Restore details in the first checkpoint of an epoch. */
export interface Restore {
  /** Log name in the newest known checkpoint. */
  readonly of: string;
  /** Number of rows that were kept: all rows in the restored database. */
  readonly kept: number;
  /** Number of kept rows that earlier checkpoints prove. */
  readonly agreed: number;
  /** Number of rows in the newest known checkpoint; undefined if no valid one was known. */
  readonly signed: number | undefined;
}

export interface Checkpoint {
  readonly origin: string;
  /** Epoch of the log (epoch.ts). */
  readonly epoch: number;
  readonly size: number;
  /** Root hash, hex. The note contains it as base64. */
  readonly root: string;
  /** Whether the log was pruned up to this checkpoint; see CUT. */
  readonly isCut: boolean;
  /** The restore that started the epoch; absent from the epoch's later checkpoints. */
  readonly restore?: Restore | undefined;
}

/** Extension line that marks a checkpoint as the replacement for pruned rows. No other checkpoint may replace rows. */
const CUT = 'meshpass.dev/pruned-up-to-here';
const RESTORE = /^meshpass\.dev\/restored (\S+) kept (\d{1,15}) agreed (\d{1,15}) signed (\d{1,15}|unknown)$/;

/** Formats a checkpoint as the text of a note. */
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
 * Returns two ranges of rows, each as first and last: the rows that a restore lost, and the rows that it kept although
 * no checkpoint proves them.
 */
export function restoreGap({ kept, agreed, signed }: Pick<Restore, 'kept' | 'agreed' | 'signed'>) {
  return {
    missing: signed !== undefined && signed > kept ? ([kept + 1, signed] as const) : undefined,
    unproven: agreed < kept ? ([agreed + 1, kept] as const) : undefined,
  };
}

/** Returns the log's name in an epoch. In the first epoch, that is the key's name. */
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
 * Verifies a note and parses its checkpoint.
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
