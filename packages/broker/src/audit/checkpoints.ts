/**
 * Signs checkpoints now and then, and keeps the newest in every sink: a store that is set back cannot take that with it. The store
 * has them, too, but not each: they let a start go on without reading all rows. Nothing is signed that contradicts what was signed
 * before.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Clock } from '../instant.ts';
import type { Db } from '../store/open.ts';
import type { Chain } from './chain.ts';
import { formatCheckpoint } from './checkpoint.ts';
import type { CheckpointSink } from './checkpoint-sink.ts';
import { baseOf, epochOf } from './epoch.ts';
import type { AuditKey } from './key.ts';
import { deletePruned } from './rows.ts';

export interface SignedCheckpoint {
  readonly size: number;
  readonly note: string;
}

export interface Checkpoints {
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

export interface CheckpointsContext {
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

export function createCheckpoints(context: CheckpointsContext): Checkpoints {
  let last: SignedCheckpoint | undefined;
  let storedAt = Number.NEGATIVE_INFINITY;
  let turn: Promise<unknown> = Promise.resolve();
  const sign = (stored: boolean) => {
    const signing = turn.then(async () => {
      last = await signNow(context, last, stored);
      if (stored) storedAt = context.clock();
      return last;
    });
    turn = signing.catch(() => {});
    return signing;
  };
  const tick = async (isLast: boolean) => {
    try {
      await sign(isLast || context.clock() - storedAt >= STORE_EVERY_MS);
      await deletePruned(context.db);
    } catch (thrown) {
      context.onFailure(thrown);
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

async function signNow(
  { db, chain, key, sinks, clock }: CheckpointsContext,
  last: SignedCheckpoint | undefined,
  stored: boolean,
): Promise<SignedCheckpoint> {
  try {
    const { size, peaks, hash, root } = await chain.snapshot();
    const problem = chain.problem();
    if (problem !== undefined)
      throw new MeshpassError('audit_tampered', `The audit log is not what was written: ${problem}.`);
    if (last?.size === size) return last;
    const note = key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: false }));
    if (stored)
      await db
        .insertInto('audit_checkpoints')
        .values({ size: String(size), hash, peaks: JSON.stringify(peaks), note, time: new Date(clock()) })
        .onConflict((conflict) => conflict.column('size').doNothing())
        .execute();
    await keep(sinks, note, key, size);
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
export async function keep(
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
