/** Rules and grants without a use in access logs. */
import { meshOf, parseAccess, resolveAccess } from '@meshpass/access';
import { findMeshConfig, loadManifests } from '@meshpass/istio';
import { describe, expect, test } from 'vitest';
import { usageOf } from '../../src/exposure.ts';

const MESH = `
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: 8080}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders, containers: [{name: app}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {selector: {app: db}, ports: [{port: 5432, name: tcp}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - to: [{operation: {methods: [GET], paths: [/orders/*]}}]
    - to: [{operation: {methods: [POST], paths: [/refunds]}}]
    - {from: [{source: {namespaces: [billing]}}], to: [{operation: {paths: [/bills/*]}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin*]}}]}, {to: [{operation: {methods: [TRACE]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, rules: [{from: [{source: {namespaces: [shop]}}]}]}
`;

/** Line of the sidecar of orders, in Istio's default format. */
const LINE = {
  start_time: '2026-11-30T08:00:00.000Z',
  authority: 'orders.shop:80',
  method: 'GET',
  path: '/orders/1?full=1',
  response_code: 200,
  response_code_details: 'via_upstream',
  connection_termination_details: null,
  upstream_cluster: 'inbound|8080||',
  requested_server_name: 'outbound_.80_._.orders.shop.svc.cluster.local',
  downstream_local_address: '10.0.0.7:8080',
  downstream_remote_address: '10.0.0.9:40000',
  x_forwarded_for: null,
};
const DENIED = {
  ...LINE,
  path: '/admin/users',
  response_code: 403,
  response_code_details: 'rbac_access_denied_matched_policy[ns[shop]-policy[no-admin]-rule[0]]',
};

function rulesAfter(mesh: string, lines: readonly object[], access?: string) {
  const { resources, problems } = loadManifests(mesh, 'mesh.yaml');
  expect(problems).toEqual([]);
  const gateway = { namespace: 'meshpass-system', labels: {}, port: 15443 };
  const grants =
    access === undefined
      ? []
      : resolveAccess(parseAccess(access, 'access.yaml'), meshOf(resources, { ...findMeshConfig(resources), gateway }))
          .grants;
  const usage = usageOf([], { resources, grants });
  for (const line of lines) usage.read(JSON.stringify(line));
  return Object.fromEntries(
    usage
      .result()
      .rules.map(({ name, place, unknown }) => [
        name.replace('AuthorizationPolicy shop/', ''),
        unknown ?? `unused (${place.file}:${place.line})`,
      ]),
  );
}

const IDENTITY = 'the log does not show the identity of the caller (downstream_peer_uri_san)';

test('lists rules without a use with their lines, and used ones not', () => {
  expect(rulesAfter(MESH, [LINE, DENIED])).toEqual({
    'ALLOW rule 2 of orders': 'unused (mesh.yaml:18)',
    'ALLOW rule 3 of orders': 'unused (mesh.yaml:19)',
    'DENY rule 2 of no-admin': 'unused (mesh.yaml:27)',
    'ALLOW rule 1 of db': 'the logs have no line from db in shop',
  });
});

test('without lines, every rule is unknown', () => {
  const rules = rulesAfter(MESH, []);
  expect(Object.keys(rules)).toHaveLength(6);
  expect(new Set(Object.values(rules))).toEqual(
    new Set(['the logs have no line from orders in shop', 'the logs have no line from db in shop']),
  );
});

describe('what the log does not show is unknown:', () => {
  test.each<readonly [string, string, object, string]>([
    ['the caller', 'ALLOW rule 3 of orders', { path: '/bills/7' }, IDENTITY],
    [
      'the path before a decoding of the proxy',
      'ALLOW rule 2 of orders',
      { method: 'POST', path: '/%72efunds' },
      'the log does not show the path that policies compare',
    ],
    [
      'fields that the format omits',
      'DENY rule 2 of no-admin',
      { response_code_details: undefined },
      'the log does not show why calls were refused (response_code_details)',
    ],
    [
      'the method',
      'ALLOW rule 2 of orders',
      { path: undefined, method: 'POST' },
      'the log does not show the path that policies compare',
    ],
  ])('%s', (_, rule, change, reason) => {
    expect(rulesAfter(MESH, [{ ...LINE, ...change }])[rule]).toBe(reason);
  });

  test('the path, if a route rewrites paths', () => {
    const route = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec: {hosts: [a], http: [{rewrite: {uri: /}, route: [{destination: {host: orders}}]}]}
`;
    expect(rulesAfter(MESH + route, [{ ...LINE, method: 'POST' }])['ALLOW rule 2 of orders']).toContain('the path');
  });

  test('the workload, if neither server name nor host names it', () => {
    const line = { ...LINE, method: 'POST', path: '/refunds', authority: '10.0.0.7', requested_server_name: null };
    const rules = rulesAfter(MESH, [line]);
    expect(rules['ALLOW rule 2 of orders']).toBe('the log does not show which workload was called');
    expect(rules['ALLOW rule 1 of orders']).toBe('the logs have no line from orders in shop');
  });

  test.each([
    ['action: AUDIT', 'access logs do not show audited calls'],
    ['action: CUSTOM, provider: {name: a}', 'access logs do not show which calls the authorizer was asked about'],
  ])('%s', (action, reason) => {
    const policy = `---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: c, namespace: shop}, spec: {${action}, rules: [{}]}}`;
    expect(Object.values(rulesAfter(MESH + policy, [LINE]))).toContain(reason);
  });
});

test.each<readonly [string, object, object]>([
  [
    'a caller of another namespace',
    { downstream_peer_uri_san: 'spiffe://cluster.local/ns/web/sa/web' },
    { unused: true },
  ],
  ['a caller without mutual TLS', { downstream_peer_uri_san: null }, { unused: true }],
  ['the caller', { downstream_peer_uri_san: 'spiffe://cluster.local/ns/billing/sa/web' }, { unused: false }],
])('with the identity in the log, a rule is decided by %s', (_, change, { unused }: { unused?: boolean }) => {
  const rules = rulesAfter(MESH, [{ ...LINE, path: '/bills/7', ...change }]);
  expect(rules['ALLOW rule 3 of orders']).toBe(unused ? 'unused (mesh.yaml:19)' : undefined);
});

test('a refused call is no use of an ALLOW rule', () => {
  const line = { ...LINE, response_code: 403, response_code_details: 'rbac_access_denied_matched_policy[none]' };
  expect(rulesAfter(MESH, [line])['ALLOW rule 1 of orders']).toBe('unused (mesh.yaml:17)');
});

test('a connection without HTTP is seen by its server name, and a refused one names its rule', () => {
  const line = {
    ...LINE,
    authority: null,
    method: null,
    path: null,
    upstream_cluster: 'inbound|5432||',
    requested_server_name: 'outbound_.5432_._.db.shop.svc.cluster.local',
    downstream_peer_uri_san: 'spiffe://cluster.local/ns/other/sa/web',
  };
  expect(rulesAfter(MESH, [line])['ALLOW rule 1 of db']).toMatch(/^unused/);
  const deny = MESH.replace(
    'selector: {matchLabels: {app: db}}, rules',
    'action: DENY, selector: {matchLabels: {app: db}}, rules',
  );
  const details = 'rbac_access_denied_matched_policy[ns[shop]-policy[db]-rule[0]]';
  expect(rulesAfter(deny, [line])['DENY rule 1 of db']).toMatch(/^unused/);
  expect(rulesAfter(deny, [{ ...line, connection_termination_details: details }])['DENY rule 1 of db']).toBeUndefined();
});

describe('at a gateway', () => {
  const gateway = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: edge}
spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress, namespace: edge}
spec: {template: {metadata: {labels: {istio: ingress}}, spec: {containers: [{name: istio-proxy, image: auto}]}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: edge, namespace: edge}
spec: {selector: {matchLabels: {istio: ingress}}, rules: [{to: [{operation: {paths: [/orders*]}}]}, {to: [{operation: {paths: [/old*]}}]}]}
`;
  const line = {
    ...LINE,
    authority: 'shop.example.com',
    upstream_cluster: 'outbound|80||orders.shop.svc.cluster.local',
    requested_server_name: 'shop.example.com',
    downstream_local_address: '10.0.0.2:8443',
    x_forwarded_for: '203.0.113.7',
  };
  const rule = (number: number) => `ALLOW rule ${number} of AuthorizationPolicy edge/edge`;

  test('a line with the address of the caller is a use', () => {
    const rules = rulesAfter(MESH + gateway, [line]);
    expect([rules[rule(1)], rules[rule(2)]]).toEqual([undefined, expect.stringMatching(/^unused/)]);
  });

  test('a line that a client may have written is not known to be one', () => {
    for (const change of [{ x_forwarded_for: null }, { authority: 'orders.shop' }]) {
      const rules = rulesAfter(MESH + gateway, [{ ...line, ...change }]);
      expect(rules[rule(1)]).toBe('the log does not show which workload was called');
      expect(rules[rule(2)]).toBe('the logs have no line from ingress in edge');
    }
  });
});

describe('grants', () => {
  const ACCESS = `
trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80, allow: [GET /orders/*]}]}
  ops: {who: [{user: bob}], to: [{service: orders.shop, port: 80, allow: [POST /refunds]}]}
  dba: {who: [{user: carol}], to: [{service: db.shop, port: 5432}]}
`;

  test('without the identity of callers, are unused if no call was one that they allow', () => {
    const rules = rulesAfter(MESH, [LINE], ACCESS);
    expect([rules['grant dev'], rules['grant ops'], rules['grant dba']]).toEqual([
      IDENTITY,
      'unused (access.yaml:5)',
      'the logs have no line from db in shop',
    ]);
  });

  test('with it, are used by workspaces of the grant', () => {
    const identified = (namespace: string) => ({
      ...LINE,
      downstream_peer_uri_san: `spiffe://cluster.local/ns/${namespace}/sa/s1`,
    });
    expect(rulesAfter(MESH, [identified('meshpass-dev')], ACCESS)['grant dev']).toBeUndefined();
    expect(rulesAfter(MESH, [identified('meshpass-ops')], ACCESS)['grant dev']).toBe('unused (access.yaml:4)');
  });
});
