import { parseAccess } from '@meshpass/access';
import { meshOf, resolveAccess } from '@meshpass/access/compile';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { analysisContext } from '../../src/plan/context.ts';
import { planChange, refuseUnsafe } from '../../src/plan/plan.ts';
import { findViolations } from '../../src/plan/prove.ts';
import { stateOf } from '../../src/plan/state.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ledger-db, namespace: shop}
spec: {selector: {app: ledger-db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: dev}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
`;

const GRANT = `
  payments-dev:
    who: [{team: acme/payments, repository: acme/payments-*}]
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*, POST /refunds]}
      - {service: ledger-db.shop, port: 5432}`;
const access = (grants = GRANT) =>
  parseAccess(`trust:\n  codespaces: {organization: acme}\ngrants:${grants}\n`, 'access.yaml');

const read = (text: string) => {
  const { resources, problems } = loadManifests(text, 'cluster.yaml');
  expect(problems).toEqual([]);
  return resources;
};
const policy = (namespace: string, spec: string) => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: ${namespace}}
spec: ${spec}
`;
const plan = (cluster: string, file = access(), inForce?: ReturnType<typeof access>) =>
  planChange({ access: file, cluster: read(cluster), shape: SHAPE, tokens: TOKENS, inForce });
const asCluster = (manifests: readonly object[]) =>
  `---\n${JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests })}`;

describe('a plan shows', () => {
  test('created objects, and gains of holders', () => {
    const { resources, reach, findings } = plan(SERVICES);
    expect(resources).toContainEqual({
      kind: 'AuthorizationPolicy',
      name: 'istio-system/meshpass-guard-payments-dev',
      does: 'create',
      source: 'access.yaml:4',
    });
    expect(resources.map(({ does }) => does)).toEqual(resources.map(() => 'create'));
    expect(reach.map(({ grant, does, service, what }) => `${grant} ${does} ${what} on ${service}`)).toEqual([
      'payments-dev gains connections on ledger-db.shop:5432',
      'payments-dev gains GET /orders/* on orders.shop:8080',
      'payments-dev gains POST /refunds on orders.shop:8080',
    ]);
    expect(findings).toEqual([]);
  });

  test('only gains for a new grant, on services of other grants and on others', () => {
    const applied = SERVICES + asCluster(plan(SERVICES).manifests);
    const withSecond = access(`${GRANT}
  search:
    who: [{team: acme/search}]
    to: [{service: orders.shop, port: 8080, allow: [DELETE /orders/*]}, {service: web.dev, port: 80}]`);
    const { reach, findings } = plan(applied, withSecond);
    expect(reach.map(({ grant, does, service, what }) => `${grant} ${does} ${what} on ${service}`)).toEqual([
      'search gains DELETE /orders/* on orders.shop:8080',
      'search gains every call on web.dev:80',
    ]);
    expect(findings).toEqual([]);
  });

  test('gained and lost calls exactly, with the claims that they require', () => {
    const claims = (more: string) =>
      access(
        `\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080, allow: ['GET /orders/*']${more}}]`,
      );
    const says = (cluster: string, file: ReturnType<typeof access>) =>
      plan(cluster, file).reach.map(({ does, what }) => `${does} ${what}`);
    const applied = SERVICES + asCluster(plan(SERVICES, claims('')).manifests);
    expect(says(applied, claims(', require: {level: [senior]}'))).toEqual([
      'loses GET /orders/* without claim attested.level senior',
    ]);
    const segment = access(
      "\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080, allow: ['GET /orders/{*}']}]",
    );
    expect(says(SERVICES + asCluster(plan(SERVICES, segment).manifests), claims(''))).toEqual([
      'gains GET /orders/* but not /orders/{*}',
    ]);
    expect(says(SERVICES, claims(', require: {level: [senior]}'))).toEqual([
      'gains GET /orders/* with claim attested.level senior',
    ]);
  });

  test('only losses for a removed grant, even if another one keeps the service open', () => {
    const second = `
  search:
    who: [{team: acme/search}]
    to: [{service: orders.shop, port: 8080, allow: [DELETE /orders/*]}]`;
    const applied = SERVICES + asCluster(plan(SERVICES, access(GRANT + second)).manifests);
    const { reach } = plan(applied);
    expect(reach.map(({ grant, does, service, what }) => `${grant} ${does} ${what} on ${service}`)).toEqual([
      'search loses DELETE /orders/* on orders.shop:8080',
    ]);
  });

  test('nothing if everything is applied', () => {
    const first = plan(SERVICES);
    const again = plan(SERVICES + asCluster(first.manifests));
    expect(again).toMatchObject({ resources: [], reach: [], findings: [] });
  });

  test('losses of a reduced grant, and removed objects', () => {
    const applied = SERVICES + asCluster(plan(SERVICES).manifests);
    const smaller = access(`
  payments-dev:
    who: [{team: acme/payments, repository: acme/payments-*}, {user: bob}]
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*]}`);
    const { resources, reach, changes } = plan(applied, smaller, access());
    expect(reach.map(({ does, service, what }) => `${does} ${what} on ${service}`)).toEqual([
      'loses connections on ledger-db.shop:5432',
      'loses POST /refunds on orders.shop:8080',
    ]);
    expect(changes?.map(({ says }) => says)).toEqual([
      'user bob may now use payments-dev',
      'payments-dev loses POST /refunds on orders.shop:8080',
      'payments-dev loses every call on ledger-db.shop:5432',
    ]);
    expect(resources.map(({ does, kind }) => `${does} ${kind}`).sort()).toEqual([
      'change AuthorizationPolicy',
      'change AuthorizationPolicy',
      'change Gateway',
      'change Sidecar',
    ]);
    const none = plan(applied, access('\n  other:\n    who: [{user: bob}]\n    to: [{service: web.dev, port: 80}]'));
    expect(none.resources).toContainEqual({ kind: 'Namespace', name: 'meshpass-payments-dev', does: 'remove' });
    expect(none.reach.filter(({ grant }) => grant === 'payments-dev').map(({ does }) => does)).toEqual([
      'loses',
      'loses',
      'loses',
    ]);
    expect(none.findings).toEqual([]);
  });
});

test('templates, denied operations and required claims are compiled exactly', () => {
  const file = access(`
  dev:
    who: [{user: bob}]
    to:
      - service: orders.shop
        port: 8080
        allow: ['* /orders/{*}', 'GET /reports/{**}', {operation: POST /refunds, require: {group: [finance, sre]}}]
        deny: ['DELETE /orders/{*}']
        require: {level: [senior]}`);
  const closed = policy('shop', '{action: ALLOW, rules: [{from: [{source: {namespaces: [dev]}}]}]}');
  for (const theirs of ['', closed]) {
    const { findings, reach } = plan(SERVICES + theirs, file);
    expect(findings).toEqual([]);
    expect(new Set(reach.map(({ does }) => does))).toEqual(new Set(['gains']));
  }
});

describe('a plan is refused', () => {
  const kinds = (cluster: string) => plan(SERVICES + cluster).findings.map(({ kind }) => kind);

  it('if another policy denies a granted call, with the line of its rule', () => {
    const { findings } = plan(
      SERVICES + policy('shop', '{action: DENY, rules: [{to: [{operation: {methods: [POST], ports: ["8080"]}}]}]}'),
    );
    expect(findings).toEqual([
      {
        kind: 'grant-does-not-work',
        grant: 'payments-dev',
        message:
          'grant payments-dev does not work: POST /refunds is refused on orders in shop, port 8080 (orders.shop:8080)',
        example: 'meshpass-payments-dev/any account: POST /refunds',
        because: 'denied by AuthorizationPolicy shop/theirs, rule 1 (cluster.yaml:20); granted at access.yaml:7',
      },
    ]);
    expect(() => refuseUnsafe({ findings })).toThrow(/does not work: POST \/refunds/);
  });

  it('if another HTTP rule closes a database, because on TCP it loses its fields and denies everything', () => {
    const { findings } = plan(
      SERVICES + policy('shop', '{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}'),
    );
    expect(findings.map(({ message }) => message)).toEqual([
      'grant payments-dev does not work: every call is refused on ledger-db in shop, port 5432 (ledger-db.shop:5432)',
    ]);
  });

  it('but not if another ALLOW closes the workload, because ours is added beside it and changes nothing for others', () => {
    const closed = policy('shop', '{action: ALLOW, rules: [{from: [{source: {namespaces: [dev]}}]}]}');
    expect(kinds(closed)).toEqual([]);
    const everywhere = policy('istio-system', '{action: ALLOW, rules: [{from: [{source: {namespaces: [dev]}}]}]}');
    expect(kinds(everywhere)).toEqual([]);
  });

  it('nor if an allow-nothing policy closes a namespace', () => {
    expect(kinds(policy('shop', '{}'))).toEqual([]);
  });

  it('if mutual TLS is disabled for a granted port', () => {
    const disabled = `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: disabled, namespace: shop}
spec: {selector: {matchLabels: {app: orders}}, mtls: {mode: DISABLE}}`;
    expect(new Set(kinds(disabled))).toEqual(new Set(['grant-does-not-work']));
  });

  it('only with a note if a part of a whole port is denied', () => {
    const whole = access('\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080}]');
    const deny = policy(
      'shop',
      '{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}',
    );
    const { findings } = plan(SERVICES + deny, whole);
    expect(findings).toMatchObject([
      {
        kind: 'note',
        message: 'part of grant dev is refused: any method /admin on orders in shop, port 8080 (orders.shop:8080)',
      },
    ]);
    expect(() => refuseUnsafe({ findings })).not.toThrow();
  });

  it('if the guard was replaced by another policy', () => {
    // Simulates a compiler bug: a state after the change in which holders are not guarded.
    const { manifests } = plan(SERVICES);
    const weak = manifests.map((manifest) =>
      manifest.metadata.name === 'meshpass-guard-payments-dev'
        ? { ...manifest, spec: { action: 'AUDIT', rules: [{}] } }
        : manifest,
    );
    expect(proveAfter(SERVICES, weak).map(({ kind }) => kind)).toContain('reaches-more');
  });

  it('if our ALLOW would be the first on a workload', () => {
    const { manifests } = plan(SERVICES);
    const first = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'first', namespace: 'shop', labels: {} },
      spec: { action: 'ALLOW', rules: [{ from: [{ source: { namespaces: ['meshpass-payments-dev'] } }] }] },
    };
    const findings = proveAfter(SERVICES, [...manifests, first]);
    expect(findings.map(({ kind }) => kind)).toContain('changes-others');
    expect(findings.map(({ message }) => message).join('\n')).toMatch(/would lose every call on orders in shop/);
  });
});

/** Runs the proof alone, for a state that no access file compiles to. */
function proveAfter(cluster: string, manifests: readonly object[]) {
  const before = read(cluster);
  const mesh = meshOf(before, SHAPE);
  return findViolations(
    analysisContext({
      before,
      after: [...before, ...read(asCluster(manifests))],
      mesh,
      tokens: TOKENS,
      holders: ['payments-dev'],
      grants: resolveAccess(access(), mesh).grants,
      settings: { ...SHAPE, trustDomainAliases: [] },
    }),
  );
}

test('a plan identifies its cluster state, which relevant objects change and a rollout does not', () => {
  const pod = (hash: string, app = 'orders') => `---
apiVersion: v1
kind: Pod
metadata: {name: orders-${hash}, namespace: shop, labels: {app: ${app}, pod-template-hash: ${hash}}}
spec: {serviceAccountName: orders, containers: []}
`;
  const state = (text: string) => stateOf(read(text));
  expect(state(SERVICES + pod('a') + pod('b'))).toBe(state(SERVICES + pod('c')));
  expect(state(SERVICES + pod('a', 'other'))).not.toBe(state(SERVICES + pod('a')));
  expect(state(SERVICES + policy('shop', '{}'))).not.toBe(state(SERVICES));
  expect(state(SERVICES + policy('shop', '{}'))).not.toBe(state(SERVICES + policy('shop', '{rules: [{}]}')));
  expect(plan(SERVICES).id).toBe(plan(SERVICES).id);
  expect(plan(SERVICES).id).not.toBe(plan(SERVICES, access(GRANT.replace('/refunds', '/refund'))).id);
});

test('the cluster state contains of a DestinationRule only what decides its client TLS', () => {
  const state = (spec: string) =>
    stateOf(
      read(
        `${SERVICES}---\n{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: orders, namespace: shop}, spec: {${spec}}}`,
      ),
    );
  const rule = (version: string, more = 'connectionPool: {}') =>
    state(`host: orders, subsets: [{name: stable, labels: {version: ${version}}}], trafficPolicy: {${more}}`);
  const before = rule('one');
  expect(rule('two')).toBe(before);
  expect(rule('one', 'connectionPool: {tcp: {maxConnections: 1}}')).toBe(before);
  const others = [
    rule('one', 'tls: {mode: DISABLE}'),
    rule('one', 'portLevelSettings: [{port: {number: 8080}, tls: {mode: SIMPLE}}]'),
    state('host: orders'),
    state('host: ledger-db, trafficPolicy: {connectionPool: {}}'),
    state("host: orders, trafficPolicy: {connectionPool: {}}, exportTo: ['.']"),
    state('host: orders, trafficPolicy: {connectionPool: {}}, workloadSelector: {matchLabels: {app: web}}'),
  ];
  expect(new Set([before, ...others]).size).toBe(7);
});
