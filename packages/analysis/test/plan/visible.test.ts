/** A grant works only if the mesh gateway and the workspaces see its Service. */
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { planChange, refusals } from '../../src/plan/plan.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const ACCESS = parseAccess(
  `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: alice}]
    to: [{service: orders.shop, port: 8080}, {service: web.dev, port: 80, allow: [GET /]}]
`,
  'access.yaml',
);
const service = (name: string, port: string, more = '') => `---
apiVersion: v1
kind: Service
metadata: {name: ${name}${more}}
spec: {selector: {app: ${name.split(',')[0]}}, ports: [${port}]}
`;
const orders = (exportTo?: string) =>
  service(
    'orders, namespace: shop',
    '{name: http, port: 8080}',
    exportTo === undefined ? '' : `, annotations: {networking.istio.io/exportTo: "${exportTo}"}`,
  );
const WEB = service('web, namespace: dev', '{name: http, port: 80}');
const namespace = (name: string, labels = '') => `---
apiVersion: v1
kind: Namespace
metadata: {name: ${name}, labels: {istio-injection: enabled${labels}}}
`;
const config = (mesh: string) => `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '${mesh}'}
`;
const policy = (name: string, spec: string, more = '') => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: ${name}${more}}
spec: ${spec}
`;
const planWith = (text: string) => {
  const { resources, problems } = loadManifests(text, 'cluster.yaml');
  expect(problems).toEqual([]);
  const planned = planChange({ access: ACCESS, cluster: resources, shape: SHAPE, tokens: TOKENS });
  return {
    planned,
    reach: planned.reach.map(({ service, what }) => `${what} on ${service}`),
    refused: refusals(planned).map(({ kind, message, because }) => `${kind}: ${message}: ${because.split(';')[0]}`),
  };
};
const BOTH = ['every call on orders.shop:8080', 'GET / on web.dev:80'];

describe('a Service that is exported', () => {
  it.each([
    ['by default', undefined],
    ['to every namespace', '*'],
    ['to the gateway and the grant', 'meshpass-dev, meshpass-system'],
  ])('%s is reached', (_, exportTo) => {
    const { refused, reach } = planWith(orders(exportTo) + WEB);
    expect({ refused, reach: reach.toSorted() }).toEqual({ refused: [], reach: BOTH.toSorted() });
  });

  it.each([
    ['to its own namespace', '.', 'meshpass-system of the mesh gateway'],
    ['to no namespace', '~', 'meshpass-system of the mesh gateway'],
    ['to other namespaces', 'dev,shop', 'meshpass-system of the mesh gateway'],
  ])('%s is not, and no reach is claimed', (_, exportTo, viewer) => {
    const { refused, reach } = planWith(orders(exportTo) + WEB);
    const why = `Service shop/orders is not exported to namespace ${viewer} (networking.istio.io/exportTo is ${exportTo.replace(',', ', ')})`;
    expect(refused).toEqual([`grant-does-not-work: grant dev does not work: no call reaches orders.shop:8080: ${why}`]);
    expect(reach).toEqual(['GET / on web.dev:80']);
  });

  it('to the gateway alone is not: workspaces of the grant do not see it', () => {
    expect(planWith(orders('meshpass-system') + WEB).refused).toEqual([
      expect.stringContaining('Service shop/orders is not exported to namespace meshpass-dev of the grant'),
    ]);
  });

  it('by the default of the mesh is judged by that, unless it has an annotation', () => {
    const { refused } = planWith(orders('*') + WEB + config('defaultServiceExportTo: ["."]'));
    expect(refused).toEqual([expect.stringContaining("(the mesh's defaultServiceExportTo is .)")]);
    expect(refused[0]).toContain('web.dev:80');
  });
});

describe('with discoverySelectors', () => {
  const selectors = config('discoverySelectors: [{matchLabels: {mesh: in}}]');
  const inside = ['istio-system', 'meshpass-system', 'shop'].map((name) => namespace(name, ', mesh: in')).join('');

  it('Services of other namespaces are not reached', () => {
    const { refused, reach } = planWith(orders() + WEB + selectors + inside + namespace('dev'));
    expect(refused).toEqual([
      expect.stringMatching(
        /^grant-does-not-work: .*no call reaches web\.dev:80: istiod reads namespace dev .*do not$/,
      ),
    ]);
    expect(reach).toEqual(['every call on orders.shop:8080']);
  });

  it('policies of other namespaces do not count', () => {
    const deny = policy('shop', '{action: DENY, rules: [{}]}');
    const outside = inside.replace(
      'name: shop, labels: {istio-injection: enabled, mesh: in}',
      'name: shop, labels: {}',
    );
    expect(planWith(orders() + WEB + deny).refused.join()).toContain('is refused on orders in shop');
    const { refused } = planWith(orders() + WEB + deny + selectors + outside + namespace('dev', ', mesh: in'));
    expect(refused).toEqual([expect.stringContaining('no call reaches orders.shop:8080')]);
  });

  it('a Namespace that was not read is unknown', () => {
    const { refused } = planWith(orders() + WEB + selectors + inside);
    expect(refused).toEqual([expect.stringMatching(/^not-known: .*works on web\.dev:80.*Namespace was not read$/)]);
  });

  it('guards do not apply if the root namespace is not selected', () => {
    const unguarded = inside.replace(', mesh: in', '') + namespace('dev', ', mesh: in');
    const { refused } = planWith(orders() + WEB + selectors + unguarded);
    expect(refused.some((one) => one.startsWith('reaches-more: '))).toBe(true);
  });

  it('nothing is reached if the namespace of the gateway is not selected', () => {
    const { refused, reach } = planWith(
      orders() +
        WEB +
        selectors +
        inside.replace('meshpass-system, labels: {istio-injection: enabled, mesh: in}', 'meshpass-system, labels: {}') +
        namespace('dev', ', mesh: in'),
    );
    expect(refused).toHaveLength(2);
    expect(refused.join()).toContain('istiod reads namespace meshpass-system of the mesh gateway only if');
    expect(reach).toEqual([]);
  });
});

describe('a Service with a DestinationRule', () => {
  const rule = (spec: string, namespace = 'shop', name = 'tls') => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
`;
  const DISABLED = 'trafficPolicy: {tls: {mode: DISABLE}}';

  it.each([
    ['its namespace', rule(`{host: orders, ${DISABLED}}`)],
    ['the mesh, by a wildcard', rule(`{host: "*.shop.svc.cluster.local", ${DISABLED}}`, 'istio-system')],
    ['the gateway', rule(`{host: orders.shop.svc.cluster.local, exportTo: ["."], ${DISABLED}}`, 'meshpass-system')],
    [
      'its port',
      rule('{host: orders, trafficPolicy: {portLevelSettings: [{port: {number: 8080}, tls: {mode: SIMPLE}}]}}'),
    ],
  ])('of %s is not reached without mutual TLS of Istio', (_, text) => {
    const { refused, reach } = planWith(orders() + WEB + text);
    expect(refused).toEqual([
      expect.stringMatching(/no call reaches orders\.shop:8080: DestinationRule .* sets tls\.mode/),
    ]);
    expect(reach).toEqual(['GET / on web.dev:80']);
  });

  it.each([
    ['uses ISTIO_MUTUAL', rule('{host: orders, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}')],
    ['sets no TLS', rule('{host: orders, trafficPolicy: {connectionPool: {}}}')],
    [
      'is of another port',
      rule('{host: orders, trafficPolicy: {portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE}}]}}'),
    ],
    ['is not exported to the gateway', rule(`{host: orders, exportTo: ["."], ${DISABLED}}`)],
    ['is of another namespace', rule(`{host: orders.shop.svc.cluster.local, ${DISABLED}}`, 'dev')],
    ['is for chosen workloads', rule(`{host: orders, workloadSelector: {matchLabels: {app: web}}, ${DISABLED}}`)],
    [
      'is less specific than another one',
      rule('{host: orders, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}') +
        rule(`{host: "*.local", ${DISABLED}}`, 'shop', 'all'),
    ],
  ])('that %s is reached', (_, text) => {
    const { refused, reach } = planWith(orders() + WEB + text);
    expect({ refused, reach: reach.toSorted() }).toEqual({ refused: [], reach: BOTH.toSorted() });
  });
});

test('a plan writes no ALLOW beside one that only some istiods enforce: it may be the first one', () => {
  const canary = policy('shop', '{}', ', labels: {istio.io/rev: canary}');
  const { planned, refused } = planWith(orders() + WEB + canary);
  expect(refused).toEqual([expect.stringMatching(/^not-known: .*only istiods of revision canary enforce/)]);
  expect(planned.manifests.filter(({ spec }) => (spec as { action?: string })?.action === 'ALLOW')).toEqual([]);
});
