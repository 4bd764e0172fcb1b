import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

const heap = new URL('../src/start/heap.ts', import.meta.url).href;

/** Objects that live long enough to be promoted, then die, beside 40 MB that stay. */
const PROGRAM = `
  const { growHeapSlowly } = await import('${heap}');
  if (process.env.SLOWLY) growHeapSlowly();
  const kept = [];
  for (let n = 0; n < 300_000; n++) kept.push({ n, text: 'kept ' + n, more: [n, n] });
  const passing = [];
  let peak = 0;
  for (let n = 0; n < 6_000_000; n++) {
    passing[n % 50_000] = { n, text: 'passing ' + n, more: [n, n] };
    if (n % 10_000 === 0) peak = Math.max(peak, process.memoryUsage().heapTotal);
  }
  global.gc();
  console.log(peak / process.memoryUsage().heapUsed, kept.length);
`;

function peakOverLive(slowly: boolean): number {
  const flags = ['--expose-gc', '--max-semi-space-size=4', '--max-old-space-size=4096', '--input-type=module'];
  const env = { ...process.env, SLOWLY: slowly ? '1' : '' };
  return Number(execFileSync(process.execPath, [...flags, '--eval', PROGRAM], { env, encoding: 'utf8' }).split(' ')[0]);
}

describe('the heap of a broker', () => {
  it('stays near its live size under a high allocation rate, instead of a multiple of it', () => {
    expect(peakOverLive(false)).toBeGreaterThan(2 * peakOverLive(true));
  });
});
