import { describe, expect, it } from 'vitest';
import { compareOutside } from '../../src/outside/compare.ts';
import { formatWitness } from '../../src/outside/describe.ts';
import { MIGRATIONS } from './corpus.ts';

const OPTIONS = { rootNamespace: 'istio-system' };

describe('migrations between kinds of routes', () => {
  it.each(MIGRATIONS)('$name: finds the marked changes, and no others', ({ before, after, expected, good }) => {
    const { changes, unknown, more } = compareOutside(before, after, OPTIONS);
    const found = changes.map((change) => {
      const { place } = change.kind === 'gains' ? change.after : change.before;
      return `${place?.file}:${place?.line} ${change.kind} ${formatWitness(change.witness)}`;
    });
    expect(found.toSorted()).toEqual(expected);
    expect(unknown).toEqual([]);
    expect(more).toBe(false);
    expect(expected.length === 0).toBe(good);
  });

  it.each(MIGRATIONS)('$name: each state is equivalent to itself', ({ before, after }) => {
    for (const state of [before, after]) {
      expect(compareOutside(state, state, OPTIONS)).toMatchObject({ changes: [], unknown: [], more: false });
    }
  });

  it.each(MIGRATIONS)('$name: the reverse migration has the opposite changes', ({ before, after }) => {
    const opposite = { gains: 'loses', loses: 'gains' } as const;
    const witnesses = (changes: ReturnType<typeof compareOutside>['changes']) =>
      changes.map(({ kind, destination, witness }) => [kind, destination, formatWitness(witness)].join(' ')).sort();
    const there = compareOutside(before, after, OPTIONS).changes;
    const back = compareOutside(after, before, OPTIONS).changes;
    expect(witnesses(back)).toEqual(witnesses(there.map((one) => ({ ...one, kind: opposite[one.kind] }))));
  });
});
