/** Versions of a set's configuration. */
import { expect, it, vi } from 'vitest';
import { createGrantSetState } from '../../src/mesh/xds/set-state.ts';
import type { GrantSetConfiguration } from '../../src/mesh/xds/transform/merge.ts';

const NOTHING: GrantSetConfiguration = { listeners: [], clusters: [], routes: [], leftOut: [] };

it('has a higher version for other content, and the same one for equal content', () => {
  let content: GrantSetConfiguration | undefined;
  let version = 0;
  const onChange = vi.fn();
  const { current, refresh } = createGrantSetState({
    grants: ['dev'],
    source: { trustDomain: 'cluster.local', clusterDomain: 'cluster.local', tokenHeader: 'authorization' },
    nextVersion: () => ++version,
    merge: () => content,
    onChange,
    onFailure: (cause) => {
      throw cause;
    },
  });
  refresh();
  expect(current()).toBeUndefined();
  content = NOTHING;
  refresh();
  const first = current();
  content = { ...NOTHING };
  refresh();
  expect(current()).toBe(first);
  expect(onChange).toHaveBeenCalledTimes(1);
  content = { ...NOTHING, leftOut: [{ what: 'x', where: 'Listener', count: 1 }] };
  refresh();
  expect(current()!.version).toBeGreaterThan(first!.version);
  expect(onChange).toHaveBeenCalledTimes(2);
});
