/** The lock between commands: whole processes, one of which is killed while it holds it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { pidNamespaceId, withLockFile } from '../../src/login/lock-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-lock-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const MODULE = new URL('../../src/login/lock-file.ts', import.meta.url).href;

/** A process that runs this while it holds the lock, so many times. */
function holder(work: string, times: number): ChildProcess {
  const program = `
import { readFileSync, writeFileSync } from 'node:fs';
import { withLockFile } from ${JSON.stringify(MODULE)};
const [lock, count, held] = ['lock', 'count', 'held'].map((name) => ${JSON.stringify(`${folder}/`)} + name);
for (let n = 0; n < ${times}; n++) await withLockFile(lock, 60_000, async () => { ${work} });`;
  return spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' });
}

const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once('exit', resolve));

/** Counter that loses counts if two processes are in it at once. */
const COUNT = `
const before = Number(readFileSync(count, 'utf8'));
await new Promise((resolve) => setTimeout(resolve, 2));
writeFileSync(count, String(before + 1));`;

it('admits one process at a time, even after one was killed in it', async () => {
  writeFileSync(join(folder, 'count'), '0');
  const killed = holder(`writeFileSync(held, ''); await new Promise((resolve) => setTimeout(resolve, 60_000));`, 1);
  await vi.waitFor(() => expect(existsSync(join(folder, 'held'))).toBe(true), 20_000);
  const others = Array.from({ length: 4 }, () => holder(COUNT, 20));
  killed.kill('SIGKILL');
  expect(await Promise.all(others.map(ended))).toEqual([0, 0, 0, 0]);
  expect(readFileSync(join(folder, 'count'), 'utf8')).toBe('80');
  expect(readdirSync(folder).toSorted()).toEqual(['count', 'held']);
});

it('gives up, with the path, when another one keeps it', async () => {
  const lock = join(folder, 'lock');
  writeFileSync(lock, `${process.pid} another`);
  const late = withLockFile(lock, 100, async () => 'in');
  await expect(late).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining(lock) });
});

it('waits for a command elsewhere, whose number means nothing here', async () => {
  const lock = join(folder, 'lock');
  const gone = '4194305';
  writeFileSync(lock, `${gone} another-host/pid:[1] another`);
  await expect(withLockFile(lock, 200, async () => 'in')).rejects.toMatchObject({ code: 'config_invalid' });
  writeFileSync(lock, `${gone} ${pidNamespaceId()} another`);
  expect(await withLockFile(lock, 200, async () => 'in')).toBe('in');
});

it('is free again when the work fails', async () => {
  const lock = join(folder, 'lock');
  const failed = withLockFile(lock, 100, async () => Promise.reject(new Error('broken')));
  await expect(failed).rejects.toThrow('broken');
  expect(await withLockFile(lock, 100, async () => 'in')).toBe('in');
});
