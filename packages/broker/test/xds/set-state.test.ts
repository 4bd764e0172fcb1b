/** Versions of a set's configuration. */
import { expect, it } from 'vitest';
import { createGrantSetState } from '../../src/mesh/xds/set-state.ts';
import type { GrantSetConfiguration } from '../../src/mesh/xds/transform/merge.ts';

const NOTHING: GrantSetConfiguration = { listeners: [], clusters: [], routes: [], leftOut: [] };

it('has a higher version for other content, and the same one for equal content', () => {
  let version = 0;
  const mesh = { trustDomain: 'cluster.local', clusterDomain: 'cluster.local', tokenHeader: 'authorization' };
  const { current, update } = createGrantSetState({ ...mesh, grants: ['dev'] }, () => ++version);
  expect(current()).toBeUndefined();
  expect(update(NOTHING)).toBe(true);
  const first = current();
  expect(update({ ...NOTHING })).toBe(false);
  expect(current()).toBe(first);
  expect(update({ ...NOTHING, leftOut: [{ what: 'x', where: 'Listener', count: 1 }] })).toBe(true);
  expect(current()!.version).toBeGreaterThan(first!.version);
});
