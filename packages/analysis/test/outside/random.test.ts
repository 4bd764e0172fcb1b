import { expect, it } from 'vitest';
import type { WitnessRequest } from '../../src/exposure/witness.ts';
import { compareOutside } from '../../src/outside/compare.ts';
import { pick, seeded } from '../diff/random-policies.ts';
import {
  type Request,
  randomHttpRoutes,
  randomIngresses,
  randomRequest,
  randomVirtualServices,
} from './random-routes.ts';

const OPTIONS = { rootNamespace: 'istio-system' };
const KINDS = [randomVirtualServices, randomHttpRoutes, randomIngresses];

function toRequest({ method, url, headers }: WitnessRequest): Request {
  const { hostname, pathname } = new URL(url);
  return { method, host: hostname === 'host' ? 'other.test' : hostname, path: pathname, headers };
}

function nameOf(destination: string): string {
  return destination.split('.')[0]!;
}

it('agrees with a direct reading of random routes: every witness is real, and no difference is missed', () => {
  let differences = 0;
  for (let seed = 0; seed < 400; seed++) {
    const random = seeded(seed);
    const [before, after] = [pick(random, KINDS)(random), pick(random, KINDS)(random)];
    const { changes, unknown, more } = compareOutside(before.resources, after.resources, OPTIONS);
    expect({ seed, unknown, more }).toEqual({ seed, unknown: [], more: false });
    for (const { kind, destination, witness } of changes) {
      const request = toRequest(witness);
      const [was, is] = [before, after].map(({ serve }) => serve(request) === nameOf(destination));
      expect({ seed, witness, was, is }).toEqual({ seed, witness, was: kind === 'loses', is: kind === 'gains' });
    }
    for (let count = 0; count < 100; count++) {
      const request = randomRequest(random);
      const [was, is] = [before.serve(request), after.serve(request)];
      if (was === is) continue;
      differences++;
      const reported = (kind: string, name: string | undefined) =>
        name === undefined || changes.some((one) => one.kind === kind && nameOf(one.destination) === name);
      expect({ seed, request, was, lost: reported('loses', was) }).toMatchObject({ lost: true });
      expect({ seed, request, is, gained: reported('gains', is) }).toMatchObject({ gained: true });
    }
  }
  expect(differences).toBeGreaterThan(1_000);
}, 60_000);

it('finds every random state equivalent to itself, and to its objects in another order', () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = seeded(seed);
    const { resources } = pick(random, KINDS)(random);
    for (const other of [resources, resources.toReversed()]) {
      expect({ seed, ...compareOutside(resources, other, OPTIONS) }).toMatchObject({ seed, changes: [], unknown: [] });
    }
  }
});
