/**
 * Set-up file: attaches to a failed test the last log lines of the real parts of its worker's lab, and of the parts in its own process.
 * The reporter prints them. Lists only logs that have grown: since the test began in this process, since the file began in the lab.
 */
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { stateDir } from '@meshpass/lab/state';
import { afterAll, beforeAll, beforeEach, type RunnerTask } from 'vitest';
import { forgetPartLogsSince, lastLines, markPartLogs, type PartLog, partLogsSince } from './part-logs.ts';

declare module 'vitest' {
  interface TaskMeta {
    /** Last log lines of each part, of a failed test or of a file whose set-up failed. */
    partLogs?: readonly PartLog[];
  }
}

/** Bytes at the end of a log that are read. */
const TAIL_BYTES = 32 * 1024;

/** Sizes of the lab's logs when the file began. */
let sizes: ReadonlyMap<string, number> = new Map();
const atStart = markPartLogs();

beforeAll(() => {
  sizes = new Map(labLogs().map(({ file, size }) => [file, size]));
});

beforeEach(({ task, onTestFinished }) => {
  const mark = markPartLogs();
  onTestFinished(() => {
    if (task.result?.state === 'fail') attach(task, [...labLogsSince(), ...partLogsSince(mark)]);
    forgetPartLogsSince(mark);
  });
});

// biome-ignore lint/correctness/noEmptyPattern: Vitest wants a pattern here, from which it reads the names of fixtures
afterAll(({}, suite) => {
  if (hasFailedHook(suite)) attach(suite, [...labLogsSince(), ...partLogsSince(atStart)]);
});

function attach(task: RunnerTask, logs: readonly PartLog[]): void {
  if (logs.length > 0) task.meta.partLogs = logs;
}

/** Whether a suite failed other than by its tests. */
function hasFailedHook(task: RunnerTask): boolean {
  if (task.type !== 'suite') return false;
  return (task.result?.errors?.length ?? 0) > 0 || task.tasks.some(hasFailedHook);
}

function labLogsSince(): PartLog[] {
  return labLogs()
    .filter(({ file, size }) => size > (sizes.get(file) ?? 0))
    .flatMap(({ file, size }) => {
      const lines = tail(file, size);
      return lines.length > 0 ? [{ name: basename(file, '.log'), lines }] : [];
    });
}

/** Returns the log files of the worker's lab. A log that is removed must not fail a test. */
function labLogs(): { file: string; size: number }[] {
  const name = process.env.MESHPASS_LAB; // read late: another set-up file sets it
  if (!name) return [];
  try {
    const folder = join(stateDir(name), 'logs');
    return readdirSync(folder)
      .filter((entry) => entry.endsWith('.log'))
      .sort()
      .map((entry) => join(folder, entry))
      .map((file) => ({ file, size: statSync(file, { throwIfNoEntry: false })?.size ?? 0 }));
  } catch {
    return [];
  }
}

function tail(file: string, size: number): string[] {
  try {
    const length = Math.min(size, TAIL_BYTES);
    const buffer = Buffer.alloc(length);
    const descriptor = openSync(file, 'r');
    try {
      readSync(descriptor, buffer, 0, length, size - length);
    } finally {
      closeSync(descriptor);
    }
    return lastLines(buffer.toString('utf8').trimEnd().split('\n'));
  } catch {
    return [];
  }
}
