/** Reads the checkpoints in all sinks, and separates the newest one from invalid ones. */
import { type Checkpoint, readCheckpoint } from './checkpoint.ts';
import type { NoteVerifier } from './note.ts';
import { type CheckpointSink, isOlder } from './sink.ts';

export interface KnownCheckpoint {
  /** Sink name. */
  readonly sink: string;
  readonly note: string;
  /** When the note was stored, if the sink records it. */
  readonly time: string | undefined;
  readonly checkpoint: Checkpoint;
}

export interface KnownCheckpoints {
  readonly all: readonly KnownCheckpoint[];
  readonly newest: KnownCheckpoint | undefined;
  /** Notes in the sinks that none of our keys signed for this log. */
  readonly invalid: readonly { readonly sink: string; readonly note: string; readonly problem: string }[];
}

/**
 * Reads and verifies the checkpoints in the sinks.
 * @throws MeshpassError if a sink does not answer
 */
export async function readKnownCheckpoints(
  sinks: readonly CheckpointSink[],
  verifiers: readonly NoteVerifier[],
): Promise<KnownCheckpoints> {
  const all: KnownCheckpoint[] = [];
  const invalid: { sink: string; note: string; problem: string }[] = [];
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
