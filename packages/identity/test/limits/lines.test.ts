/** Lines from a stream, in fragments of any size. */
import { expect, test } from 'vitest';
import { createLineReader } from '../../src/limits/read-bounded.ts';

function reading(limit: number) {
  const lines: string[] = [];
  const reader = createLineReader(() => limit);
  return { lines, push: (text: string) => reader.push(Buffer.from(text), (line) => lines.push(line)) };
}

test('assembles lines from arbitrary fragments', () => {
  const { lines, push } = reading(20_000);
  const long = 'x'.repeat(15_000);
  for (const piece of ['on', 'e\ntwo\n\nth', 'ree', '\n', long, `${long.slice(0, 5_000)}\nlast\n`])
    expect(push(piece)).toBe(true);
  expect(lines).toEqual(['one', 'two', '', 'three', long + long.slice(0, 5_000), 'last']);
});

test('accepts a line of the maximum length, and refuses one that is a byte longer, complete or not', () => {
  expect(reading(10).push(`${'x'.repeat(10)}\n`)).toBe(true);
  expect(reading(10).push(`${'x'.repeat(11)}\n`)).toBe(false);
  const { push } = reading(10);
  expect(push('x'.repeat(10))).toBe(true);
  expect(push('x')).toBe(false);
});

test('uses memory in proportion to the length of a line that arrives byte by byte', () => {
  const { lines, push } = reading(2 ** 20);
  const before = process.memoryUsage().rss;
  for (let n = 0; n < 2 ** 20; n++) push('x');
  // One buffer per byte would use about 480 MB.
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 2 ** 20);
  push('\n');
  expect(lines[0]).toHaveLength(2 ** 20);
});
