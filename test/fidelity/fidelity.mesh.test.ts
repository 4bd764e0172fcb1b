/** Istio's rules have the same outcome from every side: with each rule, and not without it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import { SIDES } from '../callers/calls.ts';
import { CASES } from './cases.ts';
import { DIFFERENCES } from './differences.ts';
import { runCase, violationsOf } from './run-case.ts';

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(SIDES);
});
afterAll(() => callers?.close());

it.each(CASES)('$feature: $rule', { timeout: 300_000 }, async (one) => {
  expect(violationsOf(await runCase(callers, one))).toEqual([]);
});

it('differences are those of cases', () => {
  const features = CASES.map(({ feature }) => feature);
  expect(Object.keys(DIFFERENCES).filter((feature) => !features.includes(feature))).toEqual([]);
});
