/**
 * Istio's rules have their outcome from a pod: with each rule, and not without it. `npm run fidelity` compares a Codespace with it, in a lab
 * of its own, which also has the cases of the Telemetry API: they need sidecars on whose listeners no earlier test's connection drains.
 */
import { readFileSync } from 'node:fs';
import { createBootstrap } from '@meshpass/agent/envoy/bootstrap';
import { bootstrapFile } from '@meshpass/lab/mesh/proxy';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import { differences, REASONS, reasonFor } from './bootstrap.ts';
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

it("the bootstrap of a workspace's Envoy differs from that of a sidecar only if a reason is listed", () => {
  const istio = JSON.parse(readFileSync(bootstrapFile(callers.lab.dir, callers.host('pod')), 'utf8'));
  const ours = JSON.parse(createBootstrap({ agentSocket: 'agent.sock', adminSocket: 'admin.sock' }));
  const found = differences(ours, istio).map((path) => reasonFor(path) ?? `no reason for ${path}`);
  expect([...new Set(found)].sort()).toEqual(Object.keys(REASONS).sort());
});

it('differences are those of cases', () => {
  const features = CASES.map(({ feature }) => feature);
  expect(Object.keys(DIFFERENCES).filter((feature) => !features.includes(feature))).toEqual([]);
});
