/** Istio's rules have the outcome that the table of fidelity expects: with each rule, and not without it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import { CASES } from './cases.ts';
import { runCase } from './run-case.ts';

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(['pod']);
});
afterAll(() => callers?.close());

describe('a call from a pod', () => {
  it.each(CASES)(
    'has the outcome of the rule, and another without it: $feature ($rule)',
    { timeout: 180_000 },
    async (one) => {
      const { seen } = await runCase(callers, one);
      expect(seen.pod!.with).toBe(one.expected);
      expect(seen.pod!.without).not.toBe(one.expected);
      expect(seen.pod!.without).not.toMatch(/^failed/);
    },
  );
});
