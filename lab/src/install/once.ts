/** Fills a folder of the cache once, although other processes may want it filled. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { withLock } from '../lock.ts';

/**
 * @param home the folder; if it exists, it is complete
 * @param fill gets an empty folder to work in, and returns the one in it (or itself) that becomes `home`
 * @param progress gets a line when another process is at it
 */
export async function fillOnce(
  home: string,
  fill: (work: string) => Promise<string>,
  progress: (line: string) => void,
): Promise<void> {
  if (existsSync(home)) return;
  const waiting = (): void => progress(`waiting for another process that installs ${basename(home)}`);
  await withLock(lockOf(home), () => fillNow(home, fill), waiting);
}

/** Name of the lock: a digest, because names are short, of the whole path, so that two caches never wait for each other. */
function lockOf(home: string): string {
  return `install/${createHash('sha256').update(resolve(home)).digest('hex')}`;
}

/** Errors of a rename onto a folder that is not empty. */
const TAKEN: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST']);

async function fillNow(home: string, fill: (work: string) => Promise<string>): Promise<void> {
  if (existsSync(home)) return; // the process that we waited for did it
  await mkdir(dirname(home), { recursive: true });
  const work = await mkdtemp(`${home}-`);
  try {
    await rename(await fill(work), home);
  } catch (error) {
    // A lock belongs to a network namespace: a process in another one may have filled it.
    if (!existsSync(home) || !TAKEN.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
