import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { EnvoySupervisor } from '../../src/envoy/supervisor.ts';

test('retries an Envoy that cannot start, without ending the agent', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'supervisor-'));
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
  const path = join(parent, 'envoy');
  writeFileSync(path, '#!/bin/sh\nexit 7\n', { mode: 0o755 });
  const directory = join(parent, 'run');
  const ends: unknown[] = [];
  const supervisor = new EnvoySupervisor({
    envoy: { path, version: '1.40.0' },
    directory,
    socket: { path: join(directory, 'envoy.sock'), serve: () => {}, close: () => {} },
    log: (event, detail) => event === 'envoy_ended' && ends.push(detail?.how),
  });
  onTestFinished(() => supervisor.close());
  // The directory is missing, which has the effect of an unwritable disk.
  supervisor.start();
  await expect.poll(() => ends).toContain('not started: ENOENT');
  mkdirSync(directory);
  await expect.poll(() => supervisor.status.lastEnd).toBe('exit 7');
  expect(supervisor.status.restarts).toBe(ends.length);
});

test('reports an Envoy that cannot start, for lack of file descriptors or altogether, and ends nothing', async () => {
  const program = `
    const { openSync } = await import('node:fs');
    const { startGuardedProcess } = await import(process.argv[1]);
    const nowhere = process.argv[2] === 'without' ? () => { for (;;) openSync('/dev/null'); } : () => {};
    try { nowhere(); } catch {}
    const { ended, kill } = startGuardedProcess(['/nowhere/envoy'], () => {});
    ended.then((how) => { kill(); process.stdout.write(how); process.exit(); });
  `;
  const guarded = fileURLToPath(new URL('../../src/envoy/guarded-process.ts', import.meta.url));
  const run = async (files: string) => {
    const argv = [
      '-c',
      'ulimit -n 64; exec "$@"',
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
      program,
      guarded,
      files,
    ];
    return (await promisify(execFile)('/bin/sh', argv)).stdout;
  };
  expect(await run('without')).toBe('not started: EMFILE');
  expect(await run('with')).toBe('exit 127');
});
