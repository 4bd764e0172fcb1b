/** Lines as an edge sends them, in whatever pieces. */
import { expect, test } from 'vitest';
import { createLineReader } from '../../src/channel/lines.ts';

function reading(limit: number) {
  const lines: string[] = [];
  const reader = createLineReader(() => limit);
  return { lines, push: (text: string) => reader.push(Buffer.from(text), (line) => lines.push(line)) };
}

test('lines come whole, however they were cut', () => {
  const { lines, push } = reading(20_000);
  const long = 'x'.repeat(15_000);
  for (const piece of ['on', 'e\ntwo\n\nth', 'ree', '\n', long, `${long.slice(0, 5_000)}\nlast\n`])
    expect(push(piece)).toBe(true);
  expect(lines).toEqual(['one', 'two', '', 'three', long + long.slice(0, 5_000), 'last']);
});

test('a line of the longest length is taken, and one of a byte more is not, complete or not', () => {
  expect(reading(10).push(`${'x'.repeat(10)}\n`)).toBe(true);
  expect(reading(10).push(`${'x'.repeat(11)}\n`)).toBe(false);
  const { push } = reading(10);
  expect(push('x'.repeat(10))).toBe(true);
  expect(push('x')).toBe(false);
});

test('a line that comes byte by byte takes no more memory than its length needs', () => {
  const { lines, push } = reading(2 ** 20);
  const before = process.memoryUsage().rss;
  for (let n = 0; n < 2 ** 20; n++) push('x');
  // A buffer for each byte takes some 480 MB.
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 2 ** 20);
  push('\n');
  expect(lines[0]).toHaveLength(2 ** 20);
});
