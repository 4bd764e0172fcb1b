import { describe, expect, test } from 'vitest';
import { ALL_RULES } from '../../src/lint/lint.ts';
import { CASES, lintCase } from './corpus.ts';

describe('the corpus', () => {
  test.each(CASES.map((one) => [one.name, one] as const))(
    '%s: finds exactly the findings marked on its lines',
    (_, one) => {
      const { findings, problems } = lintCase(one);
      expect(problems).toEqual([]);
      expect(findings.map(({ place, code, message }) => `${place.line} ${code} ${message}`).map(short)).toEqual(
        one.expected.toSorted(byLine),
      );
      if (one.good) expect(one.expected).toEqual([]);
      else expect(one.expected.some((expected) => expected.endsWith(one.code))).toBe(true);
    },
  );

  test('contains at least sixty manifests, and a good and a bad one for every rule', () => {
    expect(CASES.length).toBeGreaterThanOrEqual(60);
    for (const { code } of ALL_RULES) {
      const own = CASES.filter((one) => one.code === code);
      expect([code, own.some((one) => !one.good)]).toEqual([code, true]);
      expect([code, own.some((one) => one.good)]).toEqual([code, true]);
    }
  });
});

function short(line: string): string {
  return line.split(' ').slice(0, 2).join(' ');
}

function byLine(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);
}
