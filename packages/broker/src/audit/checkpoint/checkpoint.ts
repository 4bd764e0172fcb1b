/** Checkpoint (c2sp.org/tlog-checkpoint): a signed note with the log's name, row count and Merkle tree root. */
import { type NoteVerifier, openNote } from './note.ts';

/** Restore details in the first checkpoint of an epoch. */
export interface Restore {
  /** Log name in the newest known checkpoint. */
  readonly of: string;
  /** Number of rows that were kept, which is all rows in the restored database. */
  readonly kept: number;
  /** Number of kept rows that earlier checkpoints prove. */
  readonly agreed: number;
  /** Number of rows in the newest known checkpoint; undefined if no valid one was known. */
  readonly signed: number | undefined;
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** Hex; base64 in the note. */
  readonly root: string;
  /** Whether the log was pruned up to this checkpoint; see CUT. */
  readonly isCut: boolean;
  /** The restore that began the epoch; absent from later checkpoints. */
  readonly restore?: Restore | undefined;
}

/** Extension line of the checkpoint that replaces pruned rows. No other checkpoint may replace rows. */
const CUT = 'meshpass.dev/pruned-up-to-here';
const RESTORE = /^meshpass\.dev\/restored (\S+) kept (\d{1,15}) agreed (\d{1,15}) signed (\d{1,15}|unknown)$/;

/** Formats a checkpoint as the text of a note. */
export function formatCheckpoint({ origin, size, root, isCut, restore }: Checkpoint): string {
  const lines = [origin, `${size}`, Buffer.from(root, 'hex').toString('base64')];
  if (isCut) lines.push(CUT);
  if (restore) {
    const { of, kept, agreed, signed } = restore;
    lines.push(`meshpass.dev/restored ${of} kept ${kept} agreed ${agreed} signed ${signed ?? 'unknown'}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** @returns the checkpoint if one of the keys has signed it; otherwise why it was rejected */
export function readCheckpoint(
  note: string,
  verifiers: readonly NoteVerifier[],
): Checkpoint | { readonly problem: string } {
  const opened = openNote(note, verifiers);
  if ('problem' in opened) return opened;
  const [origin = '', size = '', root = '', ...more] = opened.text.slice(0, -1).split('\n');
  if (origin === '' || !/^(?:0|[1-9]\d{0,14})$/.test(size) || !/^[A-Za-z0-9+/]{43}=$/.test(root))
    return { problem: 'it is not a checkpoint' };
  const restore = more.map(readRestore).find((one) => one !== undefined);
  return {
    origin,
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
