/**
 * Routes that lead out of a grant, as lint and plan find them in manifests, against those that a real istiod makes for a workspace of
 * the grant: which VirtualService governs a host, to whom it is exported, which of its routes count.
 */
import { loadManifests, viewMesh } from '@meshpass/istio';
import { type Lab, upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findRoutesOutsideGrants, type GrantReach } from '../../packages/analysis/src/routes/outside-grant.ts';
import { until } from '../mesh.ts';
import { configurationOf } from './istiod.ts';

const NAMESPACE = 'meshpass-routes-test';
const RELAY = { namespace: NAMESPACE, serviceAccount: 'meshpass-relay' };
const ORDERS = 'orders.shop.svc.cluster.local';
const WEB = 'web.dev.svc.cluster.local';
const GRANT: GrantReach = {
  grant: 'routes-test',
  namespace: NAMESPACE,
  place: { file: 'access.yaml', line: 1, column: 1 },
  ports: [
    { host: ORDERS, port: 8080, protocol: 'http' },
    { host: WEB, port: 80, protocol: 'http' },
  ],
};
const LEDGER: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'ledger', namespace: 'shop' },
  spec: { selector: { app: 'orders' }, ports: [{ name: 'http', port: 81 }] },
};
const WITH_LEDGER: GrantReach = {
  ...GRANT,
  ports: [...GRANT.ports, { host: 'ledger.shop.svc.cluster.local', port: 81, protocol: 'http' }],
};
const sidecarOf = ({ ports }: GrantReach): KubeObject => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'Sidecar',
  metadata: { name: 'meshpass', namespace: NAMESPACE },
  spec: {
    egress: [{ hosts: ports.map(({ host }) => `*/${host}`) }],
    outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
  },
});
const routes = (name: string, spec: object, namespace = 'shop'): KubeObject => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name, namespace },
  spec,
});
const to = (host: string, port?: number) => ({ destination: { host, ...(port && { port: { number: port } }) } });
const toLedger = { route: [to('ledger')] };
const toOrders = { route: [to('orders', 8080)] };
const wild = ['*.shop.svc.cluster.local'];

let lab: Lab;

beforeAll(async () => {
  lab = await upLab();
  await lab.kubernetes.apply(
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: RELAY.serviceAccount, namespace: NAMESPACE } },
    LEDGER,
  );
});
afterAll(async () => {
  await lab?.kubernetes.remove(LEDGER);
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await lab?.down();
});

const CASES: readonly (readonly [string, readonly KubeObject[], readonly string[]])[] = [
  ['to another service', [routes('a', { hosts: ['orders'], http: [toLedger] })], ['ledger:8080']],
  ['to another port', [routes('a', { hosts: ['orders'], http: [{ route: [to('orders', 9090)] }] })], ['orders:9090']],
  [
    'said in another namespace',
    [routes('a', { hosts: [ORDERS], http: [{ route: [to('ledger.shop.svc.cluster.local')] }] }, 'dev')],
    ['ledger:8080'],
  ],
  [
    'to a service that does not exist',
    [routes('a', { hosts: ['orders'], http: [{ route: [to('gone', 82)] }] })],
    ['gone:82'],
  ],
  [
    'to the called port, if the route has none',
    [routes('a', { hosts: ['orders'], http: [{ route: [to('orders')] }] })],
    [],
  ],
  ['exported to its own namespace', [routes('a', { hosts: ['orders'], exportTo: ['.'], http: [toLedger] })], []],
  [
    'exported to the grant',
    [routes('a', { hosts: ['orders'], exportTo: [NAMESPACE], http: [toLedger] })],
    ['ledger:8080'],
  ],
  ['of a gateway', [routes('a', { hosts: ['orders'], gateways: ['dev/public'], http: [toLedger] })], []],
  [
    'of a gateway, by its match',
    [
      routes('a', {
        hosts: ['orders'],
        gateways: ['dev/public', 'mesh'],
        http: [{ match: [{ gateways: ['dev/public'] }], ...toLedger }, toOrders],
      }),
    ],
    [],
  ],
  [
    'of another port, by its match',
    [routes('a', { hosts: ['orders'], http: [{ match: [{ port: 9090 }], ...toLedger }, toOrders] })],
    [],
  ],
  [
    'for callers of another namespace',
    [routes('a', { hosts: ['orders'], http: [{ match: [{ sourceNamespace: 'dev' }], ...toLedger }, toOrders] })],
    [],
  ],
  [
    'for callers of the grant',
    [routes('a', { hosts: ['orders'], http: [{ match: [{ sourceNamespace: NAMESPACE }], ...toLedger }, toOrders] })],
    ['ledger:8080'],
  ],
  [
    'for callers with labels',
    [routes('a', { hosts: ['orders'], http: [{ match: [{ sourceLabels: { app: 'web' } }], ...toLedger }, toOrders] })],
    [],
  ],
  [
    'for some requests',
    [
      routes('a', {
        hosts: ['orders'],
        http: [{ match: [{ headers: { 'x-canary': { exact: '1' } } }], ...toLedger }, toOrders],
      }),
    ],
    ['ledger:8080'],
  ],
  ['behind one that takes everything', [routes('a', { hosts: ['orders'], http: [toOrders, toLedger] })], []],
  [
    'behind one that takes every path',
    [routes('a', { hosts: ['orders'], http: [{ match: [{ uri: { prefix: '/' } }], ...toOrders }, toLedger] })],
    [],
  ],
  [
    'of a weight',
    [
      routes('a', {
        hosts: ['orders'],
        http: [
          {
            route: [
              { ...to('orders', 8080), weight: 90 },
              { ...to('ledger'), weight: 10 },
            ],
          },
        ],
      }),
    ],
    ['ledger:8080'],
  ],
  [
    'of weight 0',
    [
      routes('a', {
        hosts: ['orders'],
        http: [
          {
            route: [
              { ...to('orders', 8080), weight: 100 },
              { ...to('ledger'), weight: 0 },
            ],
          },
        ],
      }),
    ],
    [],
  ],
  ['that redirects', [routes('a', { hosts: ['orders'], http: [{ redirect: { authority: 'ledger' } }] })], []],
  ['by a wildcard', [routes('a', { hosts: wild, http: [toLedger] })], ['ledger:8080']],
  [
    'by a wildcard beside the name',
    [routes('a', { hosts: wild, http: [toLedger] }), routes('b', { hosts: ['orders'], http: [toOrders] })],
    [],
  ],
  [
    'of a delegate',
    [
      routes('a', {
        hosts: ['orders'],
        http: [{ match: [{ uri: { prefix: '/l' } }], delegate: { name: 'b' } }, toOrders],
      }),
      routes('b', { http: [toLedger] }),
    ],
    ['ledger:8080'],
  ],
  [
    'of a delegate that has hosts',
    [
      routes('a', { hosts: ['orders'], http: [{ delegate: { name: 'b' } }, toOrders] }),
      routes('b', { hosts: ['other.example'], http: [toLedger] }),
    ],
    [],
  ],
  [
    'of a delegate elsewhere that is not exported',
    [
      routes('a', { hosts: ['orders'], http: [{ delegate: { name: 'b', namespace: 'dev' } }, toOrders] }),
      routes('b', { exportTo: ['.'], http: [{ route: [to('ledger.shop.svc.cluster.local')] }] }, 'dev'),
    ],
    [],
  ],
];

it.each(CASES)('a route %s is found if istiod makes it', async (_, objects, expected) => {
  const { byIstiod, found } = await compare(GRANT, objects);
  const outside = byIstiod.filter((one) => one !== `${ORDERS}:8080`);
  expect({ outside, found }).toEqual({ outside: full(expected), found: full(expected) });
});

it('a route to another granted port is none, and without a port it leads to the called one', async () => {
  const named = await compare(WITH_LEDGER, [routes('a', { hosts: ['orders'], http: [{ route: [to('ledger', 81)] }] })]);
  expect(named).toEqual({ byIstiod: full(['ledger:81']), found: [] });
  const unnamed = await compare(WITH_LEDGER, [routes('a', { hosts: ['orders'], http: [toLedger] })]);
  expect(unnamed).toEqual({ byIstiod: full(['ledger:8080']), found: full(['ledger:8080']) });
});

let round = 0;

/** Routes for calls of orders, from istiod, and those of them that lead out of the grant. */
async function compare(grant: GrantReach, objects: readonly KubeObject[]) {
  // Applied last: once it is in force, earlier objects are.
  const mark = `r${++round}`;
  const toMark = { route: [{ destination: { host: WEB, subset: mark } }] };
  const marker = routes('routes-mark', { hosts: [WEB], http: [toMark] }, 'dev');
  await lab.kubernetes.apply(sidecarOf(grant), ...objects, marker);
  try {
    const made = await until(
      () => configurationOf(lab, RELAY, ['8080', '80']),
      (now) => now.routes['80']?.some((one) => one.includes(`|${mark}|`)) === true,
      20,
    );
    const clusters = (made.routes['8080'] ?? [])
      .filter((one) => one.startsWith(ORDERS))
      .flatMap((one) => one.split(' -> ')[1]!.split(', '));
    const byIstiod = clusters.flatMap((name) => {
      const [direction, port, , host] = name.split('|');
      return direction === 'outbound' ? [`${host}:${port}`] : [];
    });
    const { items } = (await lab.kubernetes.call('GET', '/api/v1/services')) as { items: readonly KubeObject[] };
    const all = [...items.map((one) => ({ ...one, apiVersion: 'v1', kind: 'Service' })), ...objects, marker];
    const { resources } = loadManifests(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: all }), 'cluster');
    const found = findRoutesOutsideGrants(viewMesh(resources), [grant]).map((one) => one.to);
    return { byIstiod: [...new Set(byIstiod)], found };
  } finally {
    await lab.kubernetes.remove(...objects, marker);
  }
}

const full = (short: readonly string[]) => short.map((one) => one.replace(':', '.shop.svc.cluster.local:'));
