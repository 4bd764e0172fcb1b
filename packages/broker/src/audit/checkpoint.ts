/** A checkpoint (c2sp.org/tlog-checkpoint): which log, how many rows, and the root of the tree over them; signed. */
import { type NoteVerifier, openNote } from './note.ts';

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** Hex; base64 in the note. */
  readonly root: string;
  /** The line of a checkpoint that says up to which row the log was pruned; see CUT. */
  readonly isCut: boolean;
}

/** Extension line of the checkpoint that stands for rows that are gone: no other checkpoint may. */
const CUT = 'meshpass.dev/pruned-up-to-here';

export function formatCheckpoint({ origin, size, root, isCut }: Checkpoint): string {
  return `${origin}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\n${isCut ? `${CUT}\n` : ''}`;
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
  const isCut = more.includes(CUT);
  return { origin, size: Number(size), root: Buffer.from(root, 'base64').toString('hex'), isCut };
}
