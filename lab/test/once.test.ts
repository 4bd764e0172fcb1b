import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fillOnce } from '../src/install/once.ts';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'once-'));
});
afterEach(() => rmSync(cache, { recursive: true }));

const silent = (): void => {};

it('fills a folder once for all simultaneous callers', async () => {
  let fills = 0;
  const home = join(cache, `both-${process.pid}`);
  const fill = async (work: string): Promise<string> => {
    fills += 1;
    await writeFile(join(work, 'tool'), 'built');
    return work;
  };
  await Promise.all([fillOnce(home, fill, silent), fillOnce(home, fill, silent)]);
  await fillOnce(home, fill, silent);
  expect(fills).toBe(1);
  expect(readFileSync(join(home, 'tool'), 'utf8')).toBe('built');
});

it('leaves nothing of a try that failed, and tries again', async () => {
  const home = join(cache, `failed-${process.pid}`);
  const failing = async (work: string): Promise<string> => {
    await writeFile(join(work, 'half'), '');
    throw new Error('compiler');
  };
  await expect(fillOnce(home, failing, silent)).rejects.toThrow('compiler');
  expect(readdirSync(cache)).toEqual([]);
  await fillOnce(home, async (work) => work, silent);
  expect(existsSync(home)).toBe(true);
});

it('does not wait for another cache that is filled with the same', async () => {
  await fillOnce(
    join(cache, 'one', 'tool'),
    async (work) => {
      await fillOnce(join(cache, 'two', 'tool'), async (other) => other, silent);
      return work;
    },
    silent,
  );
  expect(readdirSync(cache).sort()).toEqual(['one', 'two']);
});

it('uses a folder that a process without the lock has filled', async () => {
  const home = join(cache, `taken-${process.pid}`);
  const fill = async (work: string): Promise<string> => {
    mkdirSync(home);
    await writeFile(join(home, 'tool'), 'of another');
    await writeFile(join(work, 'tool'), 'ours');
    return work;
  };
  await fillOnce(home, fill, silent);
  expect(readFileSync(join(home, 'tool'), 'utf8')).toBe('of another');
  expect(readdirSync(cache)).toEqual([basename(home)]);
});
