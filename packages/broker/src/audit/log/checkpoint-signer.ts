/**
 * Signs checkpoints periodically and stores the latest one in every sink, so that it survives a rollback of the store.
 * Some checkpoints are also kept in the store itself, so that the broker does not have to read all rows at startup. The
 * signer never contradicts an earlier checkpoint.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type Clock, type KeyedMutex, runExclusive } from '../../base/index.ts';
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
  /** The key for the current epoch (epoch.ts). */
  readonly key: AuditKey;
  /** The sinks that receive the latest checkpoint. */
  readonly sinks: readonly CheckpointSink[];
  /** The last note signed by the previous process. */
  readonly before?: string | undefined;
  readonly clock: Clock;
  readonly onFailure: (cause: unknown) => void;
}

/**
 * The minimum interval between checkpoints in the store, in milliseconds. The store keeps all of them, but sinks only
 * keep the latest.
 */
const STORE_EVERY_MS = 60_000;

/** Creates the checkpoint signer. */
export function createCheckpointSigner({ db, chain, key, sinks, before, clock, onFailure }: CheckpointSignerContext) {
  const mutex: KeyedMutex = new Map();
  let last: SignedCheckpoint | undefined;
  /** The last checkpoint in the store, and when it was stored. */
  let stored = { at: Number.NEGATIVE_INFINITY, size: -1 };
  /**
   * Signs the current state unless the last checkpoint already covers it.
   * @param inStore whether to keep the checkpoint in the store as well as in the sinks
   */
  const signNow = async (inStore: boolean): Promise<SignedCheckpoint> => {
    const { size, peaks, hash, root } = await chain.snapshot();
    const problem = chain.problem();
    if (problem !== undefined) throw new MeshpassError('audit_tampered', `The audit log was altered: ${problem}.`);
    const same = last?.size === size ? last : undefined;
    const note = same?.note ?? key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: false }));
    if (inStore && stored.size !== size)
      await db
        .insertInto('audit_checkpoints')
        .values({ size: String(size), hash, peaks: JSON.stringify(peaks), note, time: new Date(clock()) })
        .onConflict((conflict) => conflict.column('size').doNothing())
        .execute();
    if (inStore) stored = { at: clock(), size };
    if (!same) await storeInSinks(sinks, note, { epoch: key.epoch, size });
    last = { size, note };
    return last;
  };
  const sign = (inStore: boolean) =>
    runExclusive(mutex, 'sign', () =>
      signNow(inStore).catch((cause: unknown) => {
        if (cause instanceof MeshpassError) throw cause;
        throw new MeshpassError('store_unavailable', 'Failed to write the checkpoint.', { cause, retryAfter: 2 });
      }),
    );
  const tick = async (isLast: boolean) => {
    // Do not let ticks queue up behind a slow sink. The next tick signs the same rows anyway.
    if (mutex.size > 0 && !isLast) return;
    try {
      await sign(isLast || clock() - stored.at >= STORE_EVERY_MS);
      await deletePruned(db);
    } catch (thrown) {
      onFailure(thrown);
    }
  };
  return {
    /**
     * Signs a checkpoint that covers all durable rows, or returns the last one if there are no new rows. Resolves when
     * every sink has stored it.
     * @throws MeshpassError `audit_tampered`, `store_unavailable`, `kubernetes_unavailable`
     */
    sign: () => sign(true),
    /** Returns the last signed note, even if an earlier process signed it. Returns undefined if there is none. */
    last: async () => last?.note ?? before,
    /**
     * Starts signing checkpoints and deleting any remaining pruned rows, at an interval in seconds.
     * @returns a function that signs one last time and stops
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
 * Signs a checkpoint of the empty log before anything is written. If the log is found empty later, rows must have been
 * removed.
 * @throws MeshpassError from the sink or store that did not accept the checkpoint. This is retried at the next start
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
 * Stores a checkpoint in every sink. A note must not be issued before that, so that the log can no longer be rolled
 * back to an earlier state.
 * @throws MeshpassError from the first sink that failed, after all sinks have finished
 */
export async function storeInSinks(sinks: readonly CheckpointSink[], note: string, mark: LogPosition): Promise<void> {
  const kept = await Promise.allSettled(sinks.map((sink) => sink.write(note, mark)));
  const failed = kept.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}
