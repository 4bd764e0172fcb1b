import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { formatCheckpoint } from '../../src/audit/checkpoint/checkpoint.ts';
import { keyForEpoch } from '../../src/audit/checkpoint/epoch.ts';
import { type AuditKey, openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { type CheckpointSink, fileSink } from '../../src/audit/checkpoint/sink.ts';
import { createCheckpointSigner, signInitialCheckpoint } from '../../src/audit/log/checkpoint-signer.ts';
import { auditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import { createJournal } from '../../src/audit/log/journal.ts';
import { createAuditChain } from '../../src/audit/log/log-end.ts';
import { openStore, type Store } from '../../src/store/open.ts';
import { releaseStore, reusedStore } from '../harness/store/engines.ts';

describe('checkpoints of the audit log', () => {
  let dir: string;
  let store: Store;
  let key: AuditKey;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'meshpass-checkpoints-'));
    store = await openStore(await reusedStore(join(dir, 'data')));
    key = await openAuditKey(join(dir, 'audit-key.pem'), 'https://broker.example', true);
  });
  afterAll(async () => {
    await store.close();
    await releaseStore(join(dir, 'data'));
    rmSync(dir, { recursive: true });
  });

  function open(sinks: readonly CheckpointSink[], clock: () => number) {
    const chain = createAuditChain(store.db, { verifiers: key.verifiers });
    const journal = createJournal({ store, chain });
    const snapshot = vi.fn(chain.snapshot);
    const onFailure = vi.fn();
    const checkpoints = createCheckpointSigner({
      db: store.db,
      chain: { ...chain, snapshot },
      key,
      sinks,
      clock,
      onFailure,
    });
    const write = async () => {
      const event = createAuditEvent('token.issue', {}, Date.now, randomBytes);
      await journal.transaction((tx) => tx.audit(auditRow(event, 'allowed', 'tested', undefined, Date.now())));
    };
    return { checkpoints, snapshot, write, onFailure };
  }
  const sizes = async () =>
    (await store.db.selectFrom('audit_checkpoints').select('size').orderBy('size').execute()).map(({ size }) =>
      Number(size),
    );

  it('does not let ticks pile up while a sink is slow', async () => {
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const write = async () => {
      begun.resolve();
      await gate.promise;
    };
    const log = open([{ name: 'slow', read: async () => undefined, write }], Date.now);
    await log.write();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const stop = log.checkpoints.start(10);
    try {
      vi.advanceTimersByTime(10_000);
      await begun.promise;
      vi.advanceTimersByTime(200_000);
    } finally {
      vi.useRealTimers();
    }
    gate.resolve();
    await stop();
    // The one that was slow, and the last.
    expect(log.snapshot).toHaveBeenCalledTimes(2);
    expect(log.onFailure).not.toHaveBeenCalled();
  });

  it('stores the requested one, even if only the sinks have it', async () => {
    let now = Date.now();
    const log = open([], () => now);
    await log.write();
    await log.checkpoints.sign();
    await log.write();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const stop = log.checkpoints.start(10);
    try {
      // Within the minute: for the sinks alone.
      now += 10_000;
      vi.advanceTimersByTime(10_000);
    } finally {
      vi.useRealTimers();
    }
    await vi.waitFor(() => expect(log.snapshot).toHaveBeenCalledTimes(2), { timeout: 60_000 });
    const before = await sizes();
    const { size } = await log.checkpoints.sign();
    expect(before).not.toContain(size);
    expect(await sizes()).toEqual([...before, size]);
    await stop();
  });

  it('asks for a restart of the broker if the first one cannot be stored', async () => {
    const write = async () => {
      throw new MeshpassError('kubernetes_unavailable', 'The cluster does not answer.', { retryAfter: 5 });
    };
    const { checkpoints } = open([{ name: 'away', read: async () => undefined, write }], Date.now);
    await expect(signInitialCheckpoint(checkpoints)).rejects.toMatchObject({
      code: 'kubernetes_unavailable',
      retryAfter: 5,
      message: expect.stringMatching(/^Cannot store the first audit log checkpoint\..*Start it again.*does not answer/),
    });
  });

  it('keeps a newer checkpoint in a file than the one to write', async () => {
    const sink = fileSink(join(dir, 'kept'), key.verifiers);
    const note = (epoch: number, size: number, by = key) => {
      const { origin, sign } = keyForEpoch(by, epoch);
      return sign(formatCheckpoint({ origin, size, root: '00'.repeat(32), isCut: false }));
    };
    const write = (epoch: number, size: number) => sink.write(note(epoch, size), { epoch, size });
    await write(1, 5);
    await write(1, 5);
    await expect(write(1, 4)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect((await sink.read())?.note).toBe(note(1, 5));
    await write(2, 3);
    await expect(write(1, 9)).rejects.toMatchObject({ code: 'store_unavailable' });
    // A checkpoint without a signature of our keys is ignored, and does not block a restore.
    const other = await openAuditKey(join(dir, 'other-key.pem'), 'https://broker.example', true);
    await fileSink(join(dir, 'kept'), other.verifiers).write(note(7, 9, other), { epoch: 7, size: 9 });
    await write(2, 4);
    expect((await sink.read())?.note).toBe(note(2, 4));
  });
});
