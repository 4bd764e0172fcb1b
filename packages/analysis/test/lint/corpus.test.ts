import { describe, expect, test } from 'vitest';
import { ALL_RULES } from '../../src/lint/lint.ts';
import { CASES, EXPOSURE_CASES, linesOf, lintCase } from './corpus.ts';

describe('the corpus', () => {
  test.each(CASES.map((one) => [one.name, one] as const))(
    '%s: finds exactly the findings marked on its lines',
    (_, one) => {
      const linted = lintCase(one);
      expect(linted.problems).toEqual([]);
      expect(linesOf(linted)).toEqual(one.expected);
      if (one.good) expect(one.expected).toEqual([]);
      else expect(one.expected.some((expected) => expected.endsWith(one.code))).toBe(true);
    },
  );

  test('contains at least sixty manifests, and a good and a bad one for every rule', () => {
    expect(CASES.length).toBeGreaterThanOrEqual(60);
    for (const { code } of ALL_RULES) {
      const own = [...CASES, ...EXPOSURE_CASES].filter((one) => one.code === code);
      expect([code, own.some((one) => !one.good)]).toEqual([code, true]);
      expect([code, own.some((one) => one.good)]).toEqual([code, true]);
    }
  });
});
