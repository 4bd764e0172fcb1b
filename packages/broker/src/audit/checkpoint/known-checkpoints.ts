/** Reads the checkpoints in all sinks, and separates the newest one from invalid ones. */
import { type Checkpoint, readCheckpoint } from './checkpoint.ts';
import { baseOf, epochOf } from './epoch.ts';
import type { NoteVerifier } from './note.ts';
import { type CheckpointSink, isOlder } from './sink.ts';

export interface KnownCheckpoint {
  /** Sink name. */
  readonly sink: string;
  readonly note: string;
  /** When the note was stored, if the sink records it. */
  readonly time: string | undefined;
  readonly checkpoint: Checkpoint;
  readonly epoch: number;
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
    const epoch = 'problem' in checkpoint ? undefined : epochOf(baseOf(verifiers), checkpoint.origin);
    if ('problem' in checkpoint) invalid.push({ sink, note, problem: checkpoint.problem });
    else if (epoch === undefined)
      invalid.push({ sink, note, problem: `it belongs to a different log, ${checkpoint.origin}` });
    else if (checkpoint.isCut) invalid.push({ sink, note, problem: 'it covers rows that were pruned' });
    else all.push({ sink, note, time, checkpoint, epoch });
  }
  const newest = all.reduce<KnownCheckpoint | undefined>(
    (best, one) => (best && !isOlder(markOf(best), markOf(one)) ? best : one),
    undefined,
  );
  return { all, newest, invalid };
}

function markOf({ epoch, checkpoint }: KnownCheckpoint) {
  return { epoch, size: checkpoint.size };
}
