import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { compareMeaning, formatChange, possibleCalls } from '../../src/diff/compare.ts';
import { endpointsOf, pairUp } from '../../src/diff/endpoint.ts';
import { meets } from '../../src/diff/formula/call.ts';
import { createSpace } from '../../src/diff/formula/space.ts';
import { indexPolicies } from '../../src/diff/policy-index.ts';
import { randomCall, randomState, seeded } from './random-policies.ts';

const MESH = { ...DEFAULT_MESH_CONFIG, trustDomainAliases: ['old.example'] };

const REAL = possibleCalls(MESH);

describe('random rule sets', () => {
  // Each seed: two states, all their endpoints, 150 calls.
  it.each(Array.from({ length: 60 }, (_, seed) => seed))('are compared like each call is decided, seed %i', (seed) => {
    const random = seeded(seed);
    const [before, after] = [randomState(random), randomState(random)];
    const indexes = [indexPolicies(before, MESH), indexPolicies(after, MESH)] as const;
    const pairs = pairUp(endpointsOf([...before, ...after], indexes, MESH), indexes);
    const space = createSpace([
      ...pairs.flatMap(({ portPolicies }) => portPolicies.map(({ allowed }) => allowed)),
      REAL,
    ]);
    const { diagram, set, has } = space;
    const calls = Array.from({ length: 150 }, () => randomCall(random));
    for (const { portPolicies } of pairs) {
      const [was, is] = portPolicies.map(({ allowed }) => allowed) as [typeof REAL, typeof REAL];
      const gained = diagram.and(diagram.minus(set(is), set(was)), set(REAL));
      const lost = diagram.and(diagram.minus(set(was), set(is)), set(REAL));
      for (const call of calls) {
        const [passed, passes] = [meets(call, was), meets(call, is)];
        expect(has(gained, call)).toBe(passes && !passed && meets(call, REAL));
        expect(has(lost, call)).toBe(passed && !passes && meets(call, REAL));
      }
      // Claimed differences are real, and every call of a product differs.
      for (const [claimed, from, to] of [
        [gained, was, is],
        [lost, is, was],
      ] as const) {
        for (const product of diagram.products(claimed)) {
          const example = space.example(product);
          expect(meets(example, from)).toBe(false);
          expect(meets(example, to)).toBe(true);
          expect(meets(example, REAL)).toBe(true);
        }
      }
    }
  });

  it('have the same meaning in another order', () => {
    for (let seed = 0; seed < 60; seed++) {
      const state = randomState(seeded(seed));
      const turned = state.toReversed();
      expect(compareMeaning(state, turned, MESH).changes).toEqual([]);
    }
  });
});

const read = (text: string) => {
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  expect(problems).toEqual([]);
  return resources;
};

const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec:
  selector: {app: orders}
  ports: [{name: http, port: 80, targetPort: 8080}]
---`;

const policy = (spec: string, name = 'p') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec: ${spec}
---`;

const changesOf = (before: string, after: string) =>
  compareMeaning(read(SERVICE + before), read(SERVICE + after), MESH).changes.map((change) => ({
    change: `${change.who} ${change.kind} ${change.what}${change.circumstances ? `, ${change.circumstances}` : ''}`,
    where: change.where.map(({ workload, port, protocol }) => `${workload.name} ${port ?? 'other'} ${protocol}`),
    after: change.after.reason,
  }));

describe('formatChange', () => {
  test('the first ALLOW closes a workload', () => {
    const after = policy(
      '{selector: {matchLabels: {app: orders}}, action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]}',
    );
    const changes = changesOf('', after);
    expect(changes[0]).toEqual({
      change: 'everybody loses any but GET on any path',
      where: ['orders in shop 8080 http', 'orders in shop other http'],
      after: 'no rule of AuthorizationPolicy shop/p (mesh.yaml:9) allows it',
    });
    // The rule has an HTTP field and is dropped on TCP, so nothing is allowed there.
    expect(changes[1]).toMatchObject({ change: 'everybody loses every call', where: ['orders in shop other tcp'] });
    expect(changes).toHaveLength(2);
  });

  it.each([
    '{from: [{source: {requestPrincipals: [issuer.example]}}]}',
    '{when: [{key: request.auth.claims, values: [a]}]}',
    '{when: [{key: "request.headers[]", values: [a]}]}',
  ])('reports no change for a rule that no call can match: %s', (rule) => {
    const tokens = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: p, namespace: shop}
spec: {jwtRules: [{issuer: issuer.example}]}
---`;
    expect(changesOf(tokens + policy('{rules: []}'), tokens + policy(`{rules: [${rule}]}`))).toEqual([]);
  });

  test('a condition without a key, whose rule Istio drops', () => {
    expect(changesOf('', policy('{action: DENY, rules: [{when: [{values: [a]}]}]}'))).toEqual([]);
  });

  test('a template that is wider than the prefix before it', () => {
    const allow = (path: string) => policy(`{action: ALLOW, rules: [{to: [{operation: {paths: ["${path}"]}}]}]}`);
    const changes = compareMeaning(
      read(SERVICE + allow('/orders/{*}')),
      read(SERVICE + allow('/orders/{**}')),
      MESH,
    ).changes;
    const gained = changes.filter(({ where }) => where[0]!.protocol === 'http');
    expect(gained.map(({ kind }) => kind)).toEqual(gained.map(() => 'gains'));
    const examples = gained.map(({ example }) => example.texts.get('path')!);
    expect(examples.length).toBeGreaterThan(0);
    for (const path of examples) expect(path).toMatch(/^\/orders\/(.*\/.*)?$/);
  });

  test('two notations of the same policy are no change', () => {
    const one = policy(
      '{action: DENY, rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {paths: [/a, /b]}}]}]}',
    );
    const two =
      policy(
        '{action: DENY, rules: [{from: [{source: {principals: ["*/ns/dev/sa/*"]}}], to: [{operation: {paths: [/a]}}]}]}',
        'q',
      ) +
      policy(
        '{action: DENY, rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {paths: [/b]}}]}]}',
        'r',
      ) +
      policy('{action: DENY, rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {paths: [/a]}}]}]}', 's');
    const http = (changes: ReturnType<typeof changesOf>) => changes.filter(({ where }) => where[0]!.endsWith('http'));
    expect(http(changesOf(one, two))).toEqual([]);
  });

  test('the gaining caller is named, with the rule that denied it', () => {
    const deny = policy(
      '{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{from: [{source: {namespaces: [dev, test]}}]}]}',
    );
    const less = policy(
      '{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{from: [{source: {namespaces: [dev]}}]}]}',
    );
    const { changes } = compareMeaning(read(SERVICE + deny), read(SERVICE + less), MESH);
    expect(formatChange(changes[0]!)).toBe(
      [
        'workloads of namespace test gain every call on orders in shop, port 8080 (orders.shop:80); orders in shop, any other port spoken to in HTTP',
        '  for example test/any account: GET /',
        '  before: denied by AuthorizationPolicy shop/p, rule 1 (mesh.yaml:12)',
        '  after:  no policy denies it, and no ALLOW policy applies',
      ].join('\n'),
    );
  });

  test('strict mutual TLS excludes plain-text callers', () => {
    const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}`;
    expect(changesOf('', strict)[0]).toMatchObject({ change: 'callers without mutual TLS loses every call' });
  });

  test('an invalid token is refused once a rule reads it', () => {
    const tokens = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: t, namespace: shop}
spec: {jwtRules: [{issuer: https://a.example, jwks: "{}", fromHeaders: [{name: x-token}]}]}`;
    expect(changesOf('', tokens).map(({ change }) => change)).toEqual([
      'everybody loses every call, with a token in header x-token that does not verify',
    ]);
  });
});
