/** Logs of the parts of a test. */
import { expect, it } from 'vitest';
import { addPartLog, forgetPartLogsSince, lastLines, markPartLogs, partLogsSince } from './part-logs.ts';

it('returns the logs that have grown since the mark', () => {
  const silent = ['before'];
  const growing = ['before'];
  addPartLog('silent', () => silent);
  addPartLog('growing', () => growing);
  const mark = markPartLogs();
  addPartLog('new', () => ['first']);
  growing.push('after');
  expect(partLogsSince(mark)).toEqual([
    { name: 'growing', lines: ['before', 'after'] },
    { name: 'new', lines: ['first'] },
  ]);
  forgetPartLogsSince(mark);
  expect(partLogsSince(mark).map(({ name }) => name)).toEqual(['growing']);
});

it('limits lines, and their length', () => {
  const lines = lastLines([...Array.from({ length: 30 }, (_, at) => `${at}\n`), 'x'.repeat(1_000)]);
  expect(lines).toHaveLength(20);
  expect(lines[0]).toBe('11');
  expect(lines.at(-1)).toBe(`${'x'.repeat(500)}...`);
});

it('leaves out a log that cannot be read', () => {
  const mark = markPartLogs();
  addPartLog('broken', () => {
    throw new Error('closed');
  });
  expect(partLogsSince(mark)).toEqual([]);
});
