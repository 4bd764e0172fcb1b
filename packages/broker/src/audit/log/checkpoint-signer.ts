/**
 * Signs checkpoints periodically and stores the newest one in every sink, so that it survives a rollback of the store.
 * The store itself also keeps some checkpoints, so that startup does not have to read all rows. The signer never
 * contradicts an earlier checkpoint.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Clock } from '../../base/index.ts';
import type { Db } from '../../store/index.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { CheckpointSink, LogPosition } from '../checkpoint/sink.ts';
import type { AuditChain } from './log-end.ts';
import { deletePruned } from './rows.ts';

export interface SignedCheckpoint {
  readonly size: number;
  readonly note: string;
}

export type CheckpointSigner = ReturnType<typeof createCheckpointSigner>;

export interface CheckpointSignerContext {
  readonly db: Db;
  readonly chain: AuditChain;
  /** Key of the current epoch (epoch.ts). */
  readonly key: AuditKey;
  /** Sinks for the newest checkpoint. */
  readonly sinks: readonly CheckpointSink[];
  /** Last note that the previous process signed. */
  readonly before?: string | undefined;
  readonly clock: Clock;
  readonly onFailure: (cause: unknown) => void;
}

/** Minimum interval between checkpoints in the store, which keeps all of them. Sinks keep only the newest. */
const STORE_EVERY_MS = 60_000;

/** Creates the signer. */
export function createCheckpointSigner(context: CheckpointSignerContext) {
  let last: SignedCheckpoint | undefined;
  let storedAt = Number.NEGATIVE_INFINITY;
  let storedSize: number | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const sign = (stored: boolean) => {
    const signing = turn.then(async () => {
      last = await signNow(context, last, stored ? { storedSize } : undefined);
      if (stored) [storedAt, storedSize] = [context.clock(), last.size];
      return last;
    });
    turn = signing.catch(() => {});
    return signing;
  };
  let ticking = 0;
  const tick = async (isLast: boolean) => {
    // A slow sink must not cause ticks to queue up. The next tick signs the same rows.
    if (ticking > 0 && !isLast) return;
    ticking++;
    try {
      await sign(isLast || context.clock() - storedAt >= STORE_EVERY_MS);
      await deletePruned(context.db);
    } catch (thrown) {
      context.onFailure(thrown);
    } finally {
      ticking--;
    }
  };
  return {
    /**
     * Signs a checkpoint over all durable rows, or returns the last one if there are no new rows. Resolves once every
     * sink has stored it.
     * @throws MeshpassError `audit_tampered`, `store_unavailable`, `kubernetes_unavailable`
     */
    sign: () => sign(true),
    /** Returns the last signed note, even if an earlier process signed it; undefined if none exists. */
    last: async () => last?.note ?? context.before,
    /**
     * Signs a checkpoint at this interval, in seconds, and deletes any remaining pruned rows.
     * @returns a function that signs once more and stops
     */
    start: (everySeconds: number) => {
      const timer = setInterval(() => void tick(false), everySeconds * 1000);
      timer.unref();
      return async () => {
        clearInterval(timer);
        await tick(true);
      };
    },
  };
}

/**
 * Signs a checkpoint of the empty log before anything is written. From then on, an empty log means that rows were
 * removed.
 * @throws MeshpassError from the sink or store that did not accept the checkpoint; the next start tries again
 */
export async function signInitialCheckpoint(checkpoints: Pick<CheckpointSigner, 'sign'>): Promise<void> {
  try {
    await checkpoints.sign();
  } catch (cause) {
    const { code, message, retryAfter = 2 } = toMeshpassError(cause);
    throw new MeshpassError(
      code,
      `Cannot store the first audit log checkpoint. Nothing was written, and the broker cannot start without it. Start it again once the checkpoint locations respond: ${message}`,
      { cause, retryAfter },
    );
  }
}

/**
 * Signs the current state unless the last checkpoint already covers it.
 * @param storing present if the checkpoint should also be written to the store; contains the size of the last one there
 */
async function signNow(
  { db, chain, key, sinks, clock }: CheckpointSignerContext,
  last: SignedCheckpoint | undefined,
  storing: { readonly storedSize: number | undefined } | undefined,
): Promise<SignedCheckpoint> {
  try {
    const { size, peaks, hash, root } = await chain.snapshot();
    const problem = chain.problem();
    if (problem !== undefined) throw new MeshpassError('audit_tampered', `The audit log was altered: ${problem}.`);
    const same = last?.size === size ? last : undefined;
    const note = same?.note ?? key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: false }));
    if (storing && storing.storedSize !== size)
      await db
        .insertInto('audit_checkpoints')
        .values({ size: String(size), hash, peaks: JSON.stringify(peaks), note, time: new Date(clock()) })
        .onConflict((conflict) => conflict.column('size').doNothing())
        .execute();
    if (same) return same;
    await storeInSinks(sinks, note, { epoch: key.epoch, size });
    return { size, note };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'Failed to write the checkpoint.', { cause, retryAfter: 2 });
  }
}

/**
 * Stores a checkpoint in every sink. A note must not be issued before all sinks have stored it, so that the log can no
 * longer be rolled back to before the note.
 * @throws MeshpassError from the first sink that failed, after all sinks have finished
 */
export async function storeInSinks(sinks: readonly CheckpointSink[], note: string, mark: LogPosition): Promise<void> {
  const kept = await Promise.allSettled(sinks.map((sink) => sink.write(note, mark)));
  const failed = kept.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}
