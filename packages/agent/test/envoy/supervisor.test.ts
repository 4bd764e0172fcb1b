import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { EnvoySupervisor } from '../../src/envoy/supervisor.ts';

test('an Envoy that cannot be started now is tried again, and does not end the agent', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'supervisor-'));
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
  const path = join(parent, 'envoy');
  writeFileSync(path, '#!/bin/sh\nexit 7\n', { mode: 0o755 });
  const directory = join(parent, 'run');
  const ends: unknown[] = [];
  const supervisor = new EnvoySupervisor({
    ...{ envoy: { path, version: '1.40.0' }, directory, agentSocket: join(directory, 'envoy.sock') },
    log: (event, detail) => event === 'envoy_ended' && ends.push(detail?.how),
  });
  onTestFinished(() => supervisor.close());
  // Its directory is gone, as on a disk that cannot be written.
  supervisor.start();
  await expect.poll(() => ends).toContain('not started: ENOENT');
  mkdirSync(directory);
  await expect.poll(() => supervisor.lastEnd).toBe('exit 7');
  expect(supervisor.restarts).toBe(ends.length);
});
