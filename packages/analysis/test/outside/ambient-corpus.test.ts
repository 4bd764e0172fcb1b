/**
 * Corpus of migrations to ambient mode: a folder per case with `before.yaml` and `after.yaml`. Every change is in
 * `changes.txt`, with a call that proves it; cases named `good` have none. The evaluator of single calls confirms each
 * call in both states.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { findMeshConfig, loadManifests, type Resource, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { type Change, compareMeaning, formatChange } from '../../src/diff/compare.ts';
import { type TokenLocations, tokenLocations } from '../../src/diff/token-condition.ts';
import { findEndpoints } from '../../src/evaluate/target.ts';
import { evaluate, type Verdict } from '../../src/evaluate/verdict.ts';
import { compareOutside } from '../../src/outside/compare.ts';
import { asCall } from '../verdicts/same-call.ts';

const HOME = new URL('./corpus/', import.meta.url);
const SERVICES = loadManifests(
  readFileSync(new URL('./ambient.yaml', import.meta.url), 'utf8'),
  'ambient.yaml',
).resources;

function stateOf(name: string, file: string): readonly Resource[] {
  const { resources, problems } = loadManifests(readFileSync(new URL(`${name}/${file}`, HOME), 'utf8'), file);
  expect(problems).toEqual([]);
  return [...SERVICES, ...resources];
}

const CASES = readdirSync(HOME)
  .filter((name) => name.startsWith('ambient-'))
  .toSorted()
  .map((name) => {
    const changes = new URL(`${name}/changes.txt`, HOME);
    return {
      name,
      good: name.includes('-good-'),
      before: stateOf(name, 'before.yaml'),
      after: stateOf(name, 'after.yaml'),
      expected: existsSync(changes) ? readFileSync(changes, 'utf8') : '',
    };
  });

/** Whether a state allows the example of a change, by the evaluator of single calls. */
function verdictOf(state: readonly Resource[], { example, where }: Change, places: TokenLocations): Verdict {
  const config = findMeshConfig(state);
  const [{ workload, port, protocol, services, through }] = where as [Change['where'][number]];
  const target = services[0] ?? `shop/${workload.labels.app}:${port ?? 4321}`;
  const [endpoint] = findEndpoints(viewMesh(state, config), target);
  const call = asCall(example, endpoint!.port, protocol, places, config);
  const { external: _, ...rest } = call!;
  return evaluate(endpoint!, { ...rest, way: through ? 'waypoint' : 'pod' }).verdict;
}

describe('migrations to ambient mode', () => {
  it.each(CASES)('$name: finds exactly the changes listed, each with a call', ({ before, after, expected, good }) => {
    const { changes, unknown, more } = compareMeaning(before, after, findMeshConfig(after));
    expect(changes.map((change) => `${formatChange(change)}\n`).join('\n')).toBe(expected);
    expect({ unknown, more }).toEqual({ unknown: [], more: false });
    expect(changes.length === 0).toBe(good);
    expect(compareOutside(before, after, { rootNamespace: 'istio-system' })).toMatchObject({
      changes: [],
      unknown: [],
    });
  });

  it.each(CASES)('$name: each state is equivalent to itself', ({ before, after }) => {
    for (const state of [before, after]) {
      expect(compareMeaning(state, state, findMeshConfig(state))).toMatchObject({
        changes: [],
        unknown: [],
        more: false,
      });
    }
  });

  it.each(CASES.filter(({ good }) => !good))('$name: the evaluator confirms each call', ({ before, after }) => {
    const places = tokenLocations([...before, ...after]);
    for (const change of compareMeaning(before, after, findMeshConfig(after)).changes) {
      const [was, is] = [before, after].map((state) => verdictOf(state, change, places));
      const [refused, allowed] = [change.before.undecided ? 'unknown' : 'no', 'yes'];
      expect([was, is]).toEqual(change.kind === 'gains' ? [refused, allowed] : [allowed, refused]);
    }
  });
});
