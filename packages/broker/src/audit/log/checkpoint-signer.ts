/**
 * Signs checkpoints now and then, and keeps the newest in every sink: a store that is set back cannot take that with it. The store
 * has them, too, but not each: they let a start go on without reading all rows. Nothing is signed that contradicts what was signed
 * before.
 */
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Clock } from '../../clock/clock.ts';
import type { Db } from '../../store/open.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import { baseOf, epochOf } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { CheckpointSink } from '../checkpoint/sink.ts';
import type { Chain } from './chain.ts';
import { deletePruned } from './rows.ts';

export interface SignedCheckpoint {
  readonly size: number;
  readonly note: string;
}

export interface CheckpointSigner {
  /**
   * Over all rows that are durable now; the last one again where there are no new rows. Every sink has it then.
   * @throws MeshpassError `audit_tampered`, `store_unavailable`, `kubernetes_unavailable`
   */
  readonly sign: () => Promise<SignedCheckpoint>;
  /** The last note that was signed, also by a process before this one; undefined where there is none. */
  readonly last: () => Promise<string | undefined>;
  /** Signs at this pace, in seconds, and goes on deleting what was pruned. @returns stops it, after a last one */
  readonly start: (everySeconds: number) => () => Promise<void>;
}

export interface CheckpointSignerContext {
  readonly db: Db;
  readonly chain: Chain;
  /** That of the epoch (epoch.ts). */
  readonly key: AuditKey;
  /** Where the last one is kept. */
  readonly sinks: readonly CheckpointSink[];
  /** The last one that the process before this one has signed. */
  readonly before?: string | undefined;
  readonly clock: Clock;
  readonly onFailure: (cause: unknown) => void;
}

/** The store grows with every checkpoint, sinks do not. */
const STORE_EVERY_MS = 60_000;

export function createCheckpointSigner(context: CheckpointSignerContext): CheckpointSigner {
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
    // A sink that is slow must not have them pile up: the next one signs what this one would.
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
    sign: () => sign(true),
    last: async () => last?.note ?? context.before,
    start: (everySeconds) => {
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
 * The one over no rows, before anything is written: from then on a log that is empty is one from which everything was taken.
 * @throws MeshpassError of the sink or the store that did not take it, to be tried again by the next start
 */
export async function signFirst(checkpoints: Pick<CheckpointSigner, 'sign'>): Promise<void> {
  try {
    await checkpoints.sign();
  } catch (cause) {
    const { code, message, retryAfter = 2 } = toMeshpassError(cause);
    throw new MeshpassError(
      code,
      `The first checkpoint of the audit log cannot be stored. Nothing was written, and the broker does not start without it; start it again when the checkpoint locations answer: ${message}`,
      { cause, retryAfter },
    );
  }
}

/** @param storing given where the store is to have it, too: the size of the last one that it has */
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
    await storeInSinks(sinks, note, key, size);
    return { size, note };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'The checkpoint could not be written.', { cause, retryAfter: 2 });
  }
}

/**
 * What nobody can take back any more may be handed out; so all of the sinks, or it is tried again.
 * @throws MeshpassError what the first sink throws that could not keep it, after the others have
 */
export async function storeInSinks(
  sinks: readonly CheckpointSink[],
  note: string,
  { origin, verifiers }: Pick<AuditKey, 'origin' | 'verifiers'>,
  size: number,
): Promise<void> {
  const mark = { epoch: epochOf(baseOf(verifiers), origin) ?? 1, size };
  const kept = await Promise.allSettled(sinks.map((sink) => sink.write(note, mark)));
  const failed = kept.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
}
