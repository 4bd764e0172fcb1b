/**
 * Istio's rules have their outcome from a pod: with each rule, and not without it. `npm run fidelity` compares a Codespace with it, in a lab
 * of its own. There, too, are the cases of the Telemetry API: they need sidecars on whose listeners no earlier test's connection drains.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import { CASES } from './cases.ts';
import { DIFFERENCES } from './differences.ts';
import { runCase, violationsOf } from './run-case.ts';

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(['pod']);
});
afterAll(() => callers?.close());

it.each(CASES.filter(({ feature }) => !feature.startsWith('Telemetry API')))(
  '$feature: $rule',
  { timeout: 300_000 },
  async (one) => {
    expect(violationsOf(await runCase(callers, one)).join('\n')).toBe('');
  },
);

it('differences are those of cases', () => {
  const features = CASES.map(({ feature }) => feature);
  expect(Object.keys(DIFFERENCES).filter((feature) => !features.includes(feature))).toEqual([]);
});
