/**
 * Where the newest checkpoint is kept outside of the store. Who holds the store can take its own checkpoints back together with
 * the rows; what a sink has must be out of their reach.
 */
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { readCheckpoint } from './checkpoint.ts';
import { baseOf, epochOf } from './epoch.ts';
import type { NoteVerifier } from './note.ts';

export interface StoredNote {
  readonly note: string;
  /** When it was kept, RFC 3339, as far as the sink knows. */
  readonly time?: string | undefined;
}

/** Which of two checkpoints is the newer one: by epoch, then by size. */
export interface LogPosition {
  readonly epoch: number;
  readonly size: number;
}

export interface CheckpointSink {
  /** For people: `the file /var/lib/...`. */
  readonly name: string;
  /** @throws MeshpassError where it does not answer; that is not the same as having none */
  readonly read: () => Promise<StoredNote | undefined>;
  /**
   * Keeps this one in place of an older one.
   * @throws MeshpassError; where another process may write to the same sink, also when that has kept a newer one
   */
  readonly write: (note: string, mark: LogPosition) => Promise<void>;
  /** Whether it would be kept; keeps nothing. @throws MeshpassError why not */
  readonly rehearse?: (note: string, mark: LogPosition) => Promise<void>;
}

/** @returns whether `a` is older than `b` */
export function isOlder(a: LogPosition, b: LogPosition): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.size < b.size);
}

const MAX_FILE = 64 * 1024;

/**
 * A file. Replaced as a whole, and durably; not by an older one than it has, since a broker that was frozen while another took over may
 * share it. Two that write within the same instant are not kept apart: the store fences those.
 * @param verifiers whose notes count; what none of them has signed may be replaced
 */
export function fileSink(file: string, verifiers: readonly NoteVerifier[]): CheckpointSink {
  const failed = (cause: unknown) =>
    new MeshpassError('store_unavailable', `The audit log's checkpoint file ${file} cannot be read or written.`, {
      cause,
      retryAfter: 2,
    });
  const read = async (): Promise<StoredNote | undefined> => {
    try {
      const { mtime, size } = await stat(file);
      // Not read to its end: whatever that is, it is no checkpoint.
      const note = size > MAX_FILE ? 'too large' : await readFile(file, 'utf8');
      return { note, time: mtime.toISOString() };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw failed(cause);
    }
  };
  return {
    name: `the file ${file}`,
    read,
    write: async (note, mark) => {
      const kept = markOf((await read())?.note ?? '', verifiers);
      if (kept && isOlder(mark, kept))
        throw new MeshpassError(
          'store_unavailable',
          `A newer checkpoint of the audit log is stored in the file ${file}.`,
        );
      try {
        await replace(file, note);
      } catch (cause) {
        throw failed(cause);
      }
    },
  };
}

function markOf(note: string, verifiers: readonly NoteVerifier[]): LogPosition | undefined {
  const read = readCheckpoint(note, verifiers);
  if ('problem' in read || read.isCut) return undefined;
  const epoch = epochOf(baseOf(verifiers), read.origin);
  return epoch === undefined ? undefined : { epoch, size: read.size };
}

async function replace(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  // Brokers that share a file must not write into each other's next one.
  const next = `${file}.${hostname()}.${process.pid}.new`;
  const handle = await open(next, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
  const directory = await open(dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
