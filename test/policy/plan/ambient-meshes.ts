/**
 * Meshes with ambient namespaces. No ztunnel and no waypoint runs in them: their Pods are objects only, so that the test
 * checks what the plan says about them, and a call to them proves nothing. All calls to and between sidecars are real.
 */
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { BOTH_PORTS, type File, OPERATIONS, WHOLE } from './files.ts';
import { bare, type Case, kubernetesGateway, type Mesh, namespaces, policy, service } from './mesh.ts';

const GROUP = 'gateway.networking.k8s.io';
const MODE = { 'istio.io/dataplane-mode': 'ambient' };

const SALARIES: File = {
  name: 'an ambient service beside others',
  dev: '[{service: salaries.pay, port: 80, allow: [GET /mine]}, {service: orders.shop, port: 8080, allow: [GET /orders/*]}]',
  ops: '[{service: ledger-db.shop, port: 5432}, {service: web.dev, port: 80}]',
  granted: [
    ['dev', 'GET', 'salaries.pay:80', '/mine'],
    ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
    ['ops', 'TCP', 'ledger-db.shop:5432', ''],
    ['ops', 'GET', 'web.dev:80', '/'],
  ],
  refused: [
    ['dev', 'GET', 'orders.shop:8080', '/admin/x'],
    ['ops', 'GET', 'orders.shop:8080', '/orders/1'],
  ],
};

/** Namespace `pay` with its service, whose Pod has no proxy. */
const pay = (ip: string, labels: object, podLabels: object = {}): readonly KubeObject[] => [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'pay', labels: { ...labels } } },
  bare('pay', 'salaries', ip, {
    labels: { app: 'salaries', ...podLabels },
    // The CNI agent writes it on a Pod whose traffic it has redirected.
    annotations: { 'ambient.istio.io/redirection': 'enabled' },
  }),
  ...service(() => ip, 'salaries', {
    namespace: 'pay',
    app: 'salaries',
    ports: [{ name: 'http', port: 80, targetPort: 8080 }],
  }),
];
const waypoint = (namespace: string) =>
  kubernetesGateway(namespace, 'waypoint', {
    gatewayClassName: 'istio-waypoint',
    // No Deployment is made for a Gateway with the address of a Service.
    addresses: [{ type: 'Hostname', value: `waypoint.${namespace}.svc.cluster.local` }],
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
  });

const GRANTED =
  /^grant-does-not-work: grant dev does not work on salaries\.pay:80: .*ambient mode, which grants do not support yet/;
const OTHERS = /^note: nothing is proven about salaries in pay.*ambient mode/;
const BROKEN: Case['broken'] = [['dev', 'GET', 'salaries.pay:80', '/mine']];

export const AMBIENT: readonly Mesh[] = [
  {
    name: 'in which another namespace is ambient',
    objects: (ip) => pay(ip('meshpass'), MODE),
    cases: [{ file: OPERATIONS, findings: [OTHERS] }],
  },
  {
    name: 'in which a granted service is ambient',
    objects: (ip) => [
      ...pay(ip('meshpass'), MODE),
      policy('pay', 'mine', { rules: [{ ...namespaces('pay'), to: [{ operation: { methods: ['GET'] } }] }] }),
    ],
    cases: [{ file: SALARIES, findings: [GRANTED], broken: BROKEN }],
  },
  {
    name: 'with a waypoint of an ambient namespace',
    objects: (ip) => [
      ...pay(ip('meshpass'), { ...MODE, 'istio.io/use-waypoint': 'habit-waypoint' }),
      waypoint('pay'),
      policy('pay', 'waypoint', {
        targetRefs: [{ group: GROUP, kind: 'Gateway', name: 'habit-waypoint' }],
        rules: [namespaces('nobody')],
      }),
      policy('pay', 'service', {
        targetRefs: [{ group: '', kind: 'Service', name: 'salaries' }],
        action: 'DENY',
        rules: [{ to: [{ operation: { paths: ['/admin'] } }] }],
      }),
    ],
    cases: [
      { file: SALARIES, findings: [GRANTED], broken: BROKEN },
      { file: WHOLE, findings: [OTHERS] },
    ],
  },
  {
    name: 'that is labelled for ambient mode but runs sidecars, with policies of a class and of a waypoint',
    labels: { dev: MODE, shop: MODE },
    objects: () => [
      waypoint('shop'),
      policy('istio-system', 'class', {
        targetRefs: [{ group: GROUP, kind: 'GatewayClass', name: 'istio-waypoint' }],
        action: 'DENY',
        rules: [{}],
      }),
      policy('shop', 'waypoint', {
        targetRefs: [{ group: GROUP, kind: 'Gateway', name: 'habit-waypoint' }],
        rules: [namespaces('nobody')],
      }),
    ],
    cases: [{ file: OPERATIONS }, { file: BOTH_PORTS }],
  },
  {
    name: 'that is mixed: an ambient Pod beside sidecars, and a service with a waypoint',
    objects: (ip) => [
      ...pay(ip('meshpass'), { 'istio-injection': 'enabled' }, MODE),
      ...service(ip, 'ledger-by-waypoint', {
        app: 'ledger-db',
        ports: [{ name: 'tcp', port: 5432, targetPort: 5432 }],
        metadata: { labels: { 'istio.io/use-waypoint': 'habit-waypoint' } },
      }),
      waypoint('shop'),
    ],
    cases: [
      {
        file: SALARIES,
        findings: [
          /^not-known: .* grant ops works on ledger-db\.shop:5432.*sends calls through the waypoint habit-waypoint/,
          GRANTED,
        ],
        broken: BROKEN,
        unknown: ['ledger-db.shop:5432'],
      },
    ],
  },
];
