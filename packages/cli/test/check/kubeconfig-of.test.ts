/** Cluster that `meshpass check` inspects if no flag names one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { findKubeconfig } from '../../src/commands/check.ts';

const home = mkdtempSync(join(tmpdir(), 'meshpass-home-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

it('refuses to run if neither flag nor file names a cluster', () => {
  expect(() => findKubeconfig({}, home)).toThrow('No kubeconfig found at ~/.kube/config');
});

it('reads KUBECONFIG, and without it the file that kubectl reads', () => {
  mkdirSync(join(home, '.kube'));
  writeFileSync(join(home, '.kube/config'), '');
  expect(findKubeconfig({ KUBECONFIG: '/a' }, home)).toBe('/a');
  expect(findKubeconfig({ KUBECONFIG: '' }, home)).toBe(join(home, '.kube/config'));
  expect(findKubeconfig({}, home)).toBe(join(home, '.kube/config'));
});

it('refuses several files, because any of them may name the cluster', () => {
  expect(() => findKubeconfig({ KUBECONFIG: '/a:/b' }, home)).toThrow('--kubeconfig');
});
