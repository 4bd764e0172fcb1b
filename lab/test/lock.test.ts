import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { withLock } from '../src/lock.ts';

const LOCK = fileURLToPath(new URL('../src/lock.ts', import.meta.url));

it('admits one at a time', async () => {
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    inside -= 1;
  };
  await Promise.all([1, 2, 3].map(() => withLock(`test/${process.pid}`, work)));
  expect(most).toBe(1);
});

it('is free again when its holder is killed', async () => {
  const name = `test/killed-${process.pid}`;
  const script = `const { withLock } = await import(${JSON.stringify(LOCK)});
    await withLock(${JSON.stringify(name)}, () => { console.log('held'); return new Promise((r) => setTimeout(r, 1e6)); });`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  let waited = false;
  const entered = withLock(
    name,
    async () => 'in',
    () => {
      waited = true;
      holder.kill('SIGKILL');
    },
  );
  expect(await entered).toBe('in');
  expect(waited).toBe(true);
});

it('releases the lock when the work fails', async () => {
  const name = `test/failed-${process.pid}`;
  await expect(withLock(name, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await withLock(name, async () => 1)).toBe(1);
});
