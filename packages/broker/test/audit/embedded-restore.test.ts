/** The backup of the embedded store: a copy of its directory, made while no broker runs (docs/install/backup.md). */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.ts';
import { asSession, type Harness, PUBLIC_URL, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const MAIN = fileURLToPath(new URL('../../../cli/src/main.ts', import.meta.url));

let outside: string;
let harness: Harness;

beforeAll(async () => {
  outside = mkdtempSync(join(tmpdir(), 'meshpass-embedded-'));
  harness = await startHarness({ ownEngine: true, config: { auditCheckpointFile: join(outside, 'checkpoint') } });
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(async () => {
  await harness?.stop();
  rmSync(outside, { recursive: true, force: true });
});

/** @returns the epoch of a broker that starts now, which its versions of configurations begin with */
async function startedEpoch(): Promise<number> {
  const store = await openStore({ dataDir: join(harness.dir, 'data') });
  await store.close();
  return store.epoch;
}

it('is refused until the restore was declared; then no session of it lives, and no configuration of since the backup is newer', async () => {
  const ended = await session(harness, 'ended');
  const live = await session(harness, 'live');
  const data = join(harness.dir, 'data');
  await harness.broker.close();
  cpSync(data, join(outside, 'backup'), { recursive: true });
  await harness.restart();
  expect((await asSession(harness, ended, { method: 'DELETE', path: '/session' })).status).toBe(204);
  await harness.broker.close();
  const since = await startedEpoch();

  rmSync(data, { recursive: true });
  cpSync(join(outside, 'backup'), data, { recursive: true });
  await expect(harness.restart()).rejects.toMatchObject({ code: 'audit_log_behind' });
  const declare = [
    ...['audit', 'accept-restore', '--public-url', PUBLIC_URL, '--data', data, '--by', 'olga'],
    ...['--audit-checkpoint', join(outside, 'checkpoint'), '--reason', 'the copy of Monday', '--yes'],
  ];
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, ...declare]);
  expect(stdout).toMatch(/the log continues in epoch 2; 2 sessions have ended/);
  // An edge that has kept a configuration from after the backup cannot present it as the newer one.
  expect(await startedEpoch()).toBeGreaterThan(since);
  await harness.restart();
  for (const one of [ended, live])
    expect(await asSession(harness, one, { path: '/services' })).toMatchObject({
      status: 401,
      json: { error_code: expect.stringMatching(/^session_(?:closed|unknown)$/) },
    });
  expect((await session(harness, 'live')).session.grants).toEqual(['dev']);
});
