import type { Any } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { checkConfiguration, reduceResource } from '../src/index.ts';
import { captured } from './captured/captured.ts';
import { mutate, seeded } from './mutate.ts';
import { EXPECTED, relayed } from './relayed.ts';

const SEED = Number(process.env.MESHPASS_FUZZ_SEED ?? 11);
const CASES = Number(process.env.MESHPASS_FUZZ_CASES ?? 5_000);
/** Refusals by checkResourceReferences() (src/check.ts), which no reduction of a single resource can avoid. */
const AS_A_WHOLE = /^(route configuration|internal listener) ".*" is missing$|^another resource already has this name$/;

it('a reduced resource is never refused for a type, a field or a value, however it was mutated', () => {
  const raw = resources();
  const all = [...raw, ...raw.flatMap((resource) => reduceResource(resource, EXPECTED).resource ?? [])];
  const random = seeded(SEED);
  const counts = { acceptedBefore: 0, kept: 0, cut: 0, lost: 0 };
  for (let number = 0; number < CASES; number++) {
    const resource = mutate(all[number % all.length]!, random, 1 + random(4));
    const check = (one: typeof resource) =>
      checkConfiguration(
        { version: 1, listeners: [], clusters: [], routes: [], [listOf(one)]: [one] },
        EXPECTED,
      ).filter(({ reason }) => !AS_A_WHOLE.test(reason));
    if (check(resource).length === 0) counts.acceptedBefore++;
    const reduced = reduceResource(resource, EXPECTED);
    if (!reduced.resource) counts.lost++;
    else if (reduced.leftOut.length > 0) counts.cut++;
    else counts.kept++;
    if (!reduced.resource) expect(reduced.leftOut.length, `case ${number} of seed ${SEED}`).toBeGreaterThan(0);
    else expect(check(reduced.resource), `case ${number} of seed ${SEED}`).toEqual([]);
  }
  console.log(`seed ${SEED}, ${CASES} cases: ${JSON.stringify(counts)}`);
  for (const count of [counts.acceptedBefore, counts.kept, counts.cut, counts.lost])
    expect(count).toBeGreaterThan(CASES / 100);
}, 600_000);

it('reducing a resource twice changes nothing', () => {
  for (const resource of resources()) {
    const once = reduceResource(resource, EXPECTED).resource;
    if (once) expect(reduceResource(once, EXPECTED)).toEqual({ resource: once, leftOut: [] });
  }
});

function resources(): Any[] {
  const { listeners, clusters, routes } = relayed(captured());
  return [...listeners, ...clusters, ...routes];
}

function listOf({ typeUrl }: Any): 'listeners' | 'clusters' | 'routes' {
  if (typeUrl.endsWith('.Listener')) return 'listeners';
  return typeUrl.endsWith('.Cluster') ? 'clusters' : 'routes';
}
