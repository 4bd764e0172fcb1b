import { describe, expect, it } from 'vitest';
import { findCircles } from './circles.ts';

const graph = (edges: Readonly<Record<string, readonly string[]>>) =>
  new Map(Object.entries(edges).map(([node, reached]) => [node, new Set(reached)]));

describe('circles of imports', () => {
  it('are found, each once, by their shortest way round', () => {
    const found = findCircles(graph({ a: ['b'], b: ['c'], c: ['a', 'b'], d: ['e'], e: ['d'], f: ['a', 'g'], g: [] }));
    expect(found).toHaveLength(2);
    expect(found).toContainEqual(['a', 'b', 'c', 'a']);
    expect(found).toContainEqual(['d', 'e', 'd']);
  });
  it('are not reported if two ways lead down to one file', () => {
    expect(findCircles(graph({ a: ['b', 'c'], b: ['d'], c: ['d'], d: [] }))).toEqual([]);
  });
});
