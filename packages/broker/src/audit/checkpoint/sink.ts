/**
 * Stores the latest checkpoint outside the store. An attacker with access to the store could roll back its rows and
 * checkpoints together, so sinks must be out of reach.
 */
import { mkdir, readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { replaceFile } from '../../base/index.ts';
import { type Checkpoint, readCheckpoint } from './checkpoint.ts';
import type { NoteVerifier } from './note.ts';

export interface StoredNote {
  readonly note: string;
  /** When the note was stored, in RFC 3339 format, if the sink records it. */
  readonly time?: string | undefined;
}

/** The position of a checkpoint in the log. Checkpoints are ordered first by epoch and then by size. */
export interface LogPosition {
  readonly epoch: number;
  readonly size: number;
}

export interface CheckpointSink {
  /** The display name, such as `the file /var/lib/...`. */
  readonly name: string;
  /**
   * Reads the stored note. Returns undefined if the sink is empty.
   * @throws MeshpassError if the sink does not respond
   */
  readonly read: () => Promise<StoredNote | undefined>;
  /**
   * Replaces the stored checkpoint with a newer one.
   * @throws MeshpassError if the write fails, or if another process has stored a newer checkpoint in a shared sink
   */
  readonly write: (note: string, mark: LogPosition) => Promise<void>;
  /**
   * Checks whether the sink would accept a checkpoint, without storing it.
   * @throws MeshpassError with the reason if the sink would reject it
   */
  readonly rehearse?: (note: string, mark: LogPosition) => Promise<void>;
}

/** Whether position `a` is older than position `b`. */
export function isOlder(a: LogPosition, b: LogPosition): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.size < b.size);
}

const MAX_FILE = 64 * 1024;

/**
 * Creates a sink that stores checkpoints in a file. Each write durably replaces the whole file, but never with an older
 * checkpoint, because a broker that was frozen during a takeover may use the same file. There is no need to prevent
 * concurrent writes, because the store fences the older broker.
 * @param verifiers the trusted keys. A note that none of them signed may be overwritten
 */
export function fileSink(file: string, verifiers: readonly NoteVerifier[]): CheckpointSink {
  const failed = (cause: unknown) =>
    new MeshpassError('store_unavailable', `Cannot read or write the audit log's checkpoint file ${file}.`, {
      cause,
      retryAfter: 2,
    });
  const read = async (): Promise<StoredNote | undefined> => {
    try {
      const { mtime, size } = await stat(file);
      // A larger file cannot be a checkpoint, so it is not read.
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
      const kept = readCheckpoint((await read())?.note ?? '', verifiers);
      if (!('problem' in kept || kept.isCut) && isOlder(mark, kept))
        throw new MeshpassError('store_unavailable', `A newer audit log checkpoint is stored in the file ${file}.`);
      try {
        await mkdir(dirname(file), { recursive: true, mode: 0o700 });
        // The temporary file is named after the host and process, so that brokers sharing a file never write to the
        // same one.
        await replaceFile(file, note, `${file}.${hostname()}.${process.pid}.new`);
      } catch (cause) {
        throw failed(cause);
      }
    },
  };
}

export interface KnownCheckpoint {
  readonly sink: string;
  readonly note: string;
  /** When the note was stored, if the sink records it. */
  readonly time: string | undefined;
  readonly checkpoint: Checkpoint;
}

export type KnownCheckpoints = Awaited<ReturnType<typeof readKnownCheckpoints>>;

/**
 * Reads and verifies the checkpoints in all sinks.
 * @throws MeshpassError if a sink does not respond
 */
export async function readKnownCheckpoints(sinks: readonly CheckpointSink[], verifiers: readonly NoteVerifier[]) {
  const all: KnownCheckpoint[] = [];
  /** Notes found in the sinks that were not signed for this log by any of our keys. */
  const invalid: { readonly sink: string; readonly note: string; readonly problem: string }[] = [];
  for (const { name: sink, read } of sinks) {
    const kept = await read();
    if (!kept) continue;
    const { note, time } = kept;
    const checkpoint = readCheckpoint(note, verifiers);
    if ('problem' in checkpoint) invalid.push({ sink, note, problem: checkpoint.problem });
    else if (checkpoint.isCut) invalid.push({ sink, note, problem: 'it covers rows that were pruned' });
    else all.push({ sink, note, time, checkpoint });
  }
  const newest = all.reduce<KnownCheckpoint | undefined>(
    (best, one) => (best && !isOlder(best.checkpoint, one.checkpoint) ? best : one),
    undefined,
  );
  return { all, newest, invalid };
}
