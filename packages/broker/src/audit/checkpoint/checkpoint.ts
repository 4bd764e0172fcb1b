/** A checkpoint (c2sp.org/tlog-checkpoint): which log, how many rows, and the root of the tree over them; signed. */
import { type NoteVerifier, openNote } from './note.ts';

/** What the first checkpoint of an epoch says. */
export interface Restore {
  /** Name of the log whose checkpoint was the newest that was known. */
  readonly of: string;
  /** Rows that were taken over: those of the database as it was found. */
  readonly kept: number;
  /** How many of these are proven by what was signed before; not more than were kept. */
  readonly agreed: number;
  /** Rows of the newest checkpoint that was known; undefined where none was, or none that verified. */
  readonly signed: number | undefined;
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** Hex; base64 in the note. */
  readonly root: string;
  /** The line of a checkpoint that says up to which row the log was pruned; see CUT. */
  readonly isCut: boolean;
  /** The first checkpoint of an epoch says what it took over, and what it lost. */
  readonly restore?: Restore | undefined;
}

/** Extension line of the checkpoint that stands for rows that are gone: no other checkpoint may. */
const CUT = 'meshpass.dev/pruned-up-to-here';
const RESTORE = /^meshpass\.dev\/restored (\S+) kept (\d{1,15}) agreed (\d{1,15}) signed (\d{1,15}|unknown)$/;

export function formatCheckpoint({ origin, size, root, isCut, restore }: Checkpoint): string {
  const lines = [origin, `${size}`, Buffer.from(root, 'hex').toString('base64')];
  if (isCut) lines.push(CUT);
  if (restore) {
    const { of, kept, agreed, signed } = restore;
    lines.push(`meshpass.dev/restored ${of} kept ${kept} agreed ${agreed} signed ${signed ?? 'unknown'}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** @returns the checkpoint, when one of the keys has signed it; otherwise what is wrong */
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
    ...{ origin, size: Number(size), root: Buffer.from(root, 'base64').toString('hex'), isCut: more.includes(CUT) },
    ...(restore && { restore }),
  };
}

function readRestore(line: string): Restore | undefined {
  const [, of, kept, agreed, signed] = RESTORE.exec(line) ?? [];
  if (of === undefined) return undefined;
  return { of, kept: Number(kept), agreed: Number(agreed), signed: signed === 'unknown' ? undefined : Number(signed) };
}
