/**
 * Signs checkpoints now and then, keeps them in the store, and the last one in a file beside the key as well: a store that
 * is set back cannot take that with it. Nothing is signed that contradicts what was signed before.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import type { Clock } from '../instant.ts';
import type { Db } from '../store/open.ts';
import type { Chain } from './chain.ts';
import { type Checkpoint, formatCheckpoint, readCheckpoint } from './checkpoint.ts';
import type { AuditKey } from './key.ts';
import { deletePruned } from './rows.ts';

export interface SignedCheckpoint {
  readonly size: number;
  readonly note: string;
}

export interface Checkpoints {
  /**
   * Over all rows that are durable now; the last one again where there are no new rows.
   * @throws MeshpassError `audit_tampered`, `store_unavailable`
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
  readonly key: AuditKey;
  /** Where the last one is kept. */
  readonly file: string;
  readonly clock: Clock;
  readonly onFailure: (cause: unknown) => void;
}

/** @returns undefined where there is none yet, or none by these keys */
export async function readLastCheckpoint(file: string, key: AuditKey): Promise<Checkpoint | undefined> {
  const checkpoint = readCheckpoint((await readNote(file)) ?? '', key.verifiers);
  return 'problem' in checkpoint ? undefined : checkpoint;
}

async function readNote(file: string): Promise<string | undefined> {
  return await readFile(file, 'utf8').catch(() => undefined);
}

export function createCheckpoints(context: CheckpointsContext): Checkpoints {
  let last: SignedCheckpoint | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const sign = () => {
    const signing = turn.then(async () => {
      last = await signNow(context, last);
      return last;
    });
    turn = signing.catch(() => {});
    return signing;
  };
  const tick = async () => {
    try {
      await sign();
      await deletePruned(context.db);
    } catch (thrown) {
      context.onFailure(thrown);
    }
  };
  return {
    sign,
    last: async () => last?.note ?? (await readNote(context.file)),
    start: (everySeconds) => {
      const timer = setInterval(tick, everySeconds * 1000);
      timer.unref();
      return async () => {
        clearInterval(timer);
        await tick();
      };
    },
  };
}

async function signNow(
  { db, chain, key, file, clock }: CheckpointsContext,
  last: SignedCheckpoint | undefined,
): Promise<SignedCheckpoint> {
  try {
    const { size, peaks, hash, root } = await chain.snapshot();
    const problem = chain.problem();
    if (problem !== undefined)
      throw new MeshpassError('audit_tampered', `The audit log is not what was written: ${problem}.`);
    if (last?.size === size) return last;
    const note = key.sign(formatCheckpoint({ origin: key.origin, size, root, isCut: false }));
    await db
      .insertInto('audit_checkpoints')
      .values({ size: String(size), hash, peaks: JSON.stringify(peaks), note, time: new Date(clock()) })
      .onConflict((conflict) => conflict.column('size').doNothing())
      .execute();
    await keep(file, note);
    return { size, note };
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'The checkpoint could not be written.', { cause, retryAfter: 2 });
  }
}

async function keep(file: string, note: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(`${file}.new`, 'w', 0o600);
  try {
    await handle.writeFile(note);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}
