/** Server names are tested at both ends, by port and by host; the diagram represents the ends independently. */

import { connectionsTo } from '@meshpass/access/compile';
import { DEFAULT_MESH_CONFIG, loadObject } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { compareMeaning } from '../../src/diff/compare.ts';
import { type Call, meets } from '../../src/diff/formula/call.ts';
import { all, any, type Condition, not, text } from '../../src/diff/formula/condition.ts';
import { EVERY, NONE } from '../../src/diff/formula/diagram.ts';
import { createSpace } from '../../src/diff/formula/space.ts';
import { parseTextTest, type TextTest } from '../../src/diff/formula/text-test.ts';
import { pick, type Random, seeded } from './random-policies.ts';

const named = (test: TextTest | string): Condition =>
  text('connection.sni', typeof test === 'string' ? parseTextTest(test) : test);
const callOf = (name: string | undefined): Call => ({
  flags: new Set<string>(),
  lists: new Map(),
  addresses: new Map(),
  texts: new Map(name === undefined ? [] : [['connection.sni', name]]),
});

/** Few letters, so that beginnings and ends contain each other and overlap. */
const TEXTS = ['', 'a', 'ab', 'aba', 'abab', 'b', 'ba', 'bab', 'abb', 'xa', 'abx', 'axb', 'xx'];
const FORMS = ['exact', 'prefix', 'suffix', 'present'] as const;

function formula(random: Random, depth: number): Condition {
  const part = () => formula(random, depth - 1);
  switch (depth === 0 ? 0 : Math.floor(random() * 5)) {
    case 1:
      return not(part());
    case 2:
      return all([part(), part()]);
    case 3:
      return any([part(), part()]);
    default: {
      const form = pick(random, FORMS);
      return named(form === 'present' ? { form } : { form, text: pick(random, TEXTS) });
    }
  }
}

it('distinguishes names like each test, even if beginnings and ends contain each other', () => {
  for (let seed = 0; seed < 400; seed++) {
    const random = seeded(seed);
    const formulas = Array.from({ length: 3 }, () => formula(random, 3));
    const { diagram, set, has, withText, example } = createSpace(formulas);
    for (const one of formulas) {
      const [node, rest] = [set(one), set(not(one))];
      for (const name of [undefined, ...TEXTS]) {
        expect({ seed, name, has: has(node, callOf(name)) }).toEqual({ seed, name, has: meets(callOf(name), one) });
        if (name !== undefined)
          expect(diagram.and(withText('connection.sni', name), node) !== NONE).toBe(meets(callOf(name), one));
      }
      expect(diagram.or(node, rest)).toBe(EVERY);
      for (const product of diagram.products(node)) expect(meets(example(product), one)).toBe(true);
      for (const product of diagram.products(rest)) expect(meets(example(product), one)).toBe(false);
    }
  }
});

it('needs classes for ports and hosts separately, not for every combination', () => {
  const hosts = Array.from({ length: 1_000 }, (_, index) => `service-${index}.shop.svc.cluster.local`);
  const rules = hosts.map((host, index) =>
    all(connectionsTo(8_000 + (index % 100), [host]).map(({ values }) => any(values.map(named)))),
  );
  const { diagram, set } = createSpace(rules);
  expect(set(any(rules))).not.toBe(NONE);
  expect(diagram.size).toBeLessThan(25_000);
});

it('describes a name by its beginning and its end', () => {
  const rules = [{ when: connectionsTo(80, ['orders.shop', 'web.dev']) }];
  const policy = {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { action: 'DENY', rules },
  };
  const { changes } = compareMeaning([], loadObject(policy, 'p.yaml').resources, DEFAULT_MESH_CONFIG);
  const [first] = changes;
  expect(first).toMatchObject({
    kind: 'loses',
    circumstances: 'with SNI outbound_.80_.*, with SNI *_.orders.shop, *_.web.dev',
  });
  expect(first!.example.texts.get('connection.sni')).toMatch(/^outbound_\.80_\..+_\.(?:orders\.shop|web\.dev)$/);
});
