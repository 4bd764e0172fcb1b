/** Meshes of sidecars that differ in their services, in what is visible, and in how calls are routed. */
import { BOTH_PORTS, type File, OPERATIONS, WHOLE } from './files.ts';
import { destinationRule, type Mesh, service, serviceEntry, sidecar, virtualService } from './mesh.ts';

const EXPORTED: File = {
  name: 'services that are exported differently',
  dev: '[{service: orders.shop, port: 8080, allow: [GET /orders/*]}, {service: private.shop, port: 8080}]',
  ops: '[{service: gateway-only.shop, port: 8080}, {service: both.shop, port: 8080, allow: [GET /orders/*]}]',
  granted: [
    ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
    ['dev', 'GET', 'private.shop:8080', '/orders/1'],
    ['ops', 'GET', 'both.shop:8080', '/orders/1'],
  ],
  refused: [['dev', 'GET', 'both.shop:8080', '/orders/1']],
};

const SUBSETS: File = {
  name: 'a service with subsets',
  dev: '[{service: orders.shop, port: 8080, allow: [GET /orders/*]}]',
  ops: '[{service: ledger-db.shop, port: 5432}]',
  granted: [
    ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
    ['dev', 'GET', 'orders.shop:8080#main', '/orders/1'],
    ['ops', 'TCP', 'ledger-db.shop:5432', ''],
    ['ops', 'TCP', 'ledger-db.shop:5432#main', ''],
  ],
  refused: [
    ['dev', 'DELETE', 'orders.shop:8080#main', '/orders/1'],
    ['ops', 'GET', 'orders.shop:8080#main', '/orders/1'],
  ],
};

const PORTS: File = {
  name: 'headless services and many ports',
  dev: '[{service: catalog.shop, port: 8080, allow: [GET /orders/*]}, {service: catalog.shop, port: admin}]',
  ops: '[{service: store.shop, port: 6379}, {service: store.shop, port: 5433}, {service: store.shop, port: mongo}]',
  granted: [
    ['dev', 'GET', 'catalog.shop:8080', '/orders/1'],
    ['dev', 'GET', 'catalog.shop:9191', '/admin/x'],
    ['ops', 'TCP', 'store.shop:6379', ''],
    ['ops', 'TCP', 'store.shop:5433', ''],
    ['ops', 'TCP', 'store.shop:27017', ''],
  ],
  refused: [
    ['dev', 'GET', 'catalog.shop:8080', '/admin/x'],
    ['ops', 'GET', 'catalog.shop:8080', '/orders/1'],
    ['dev', 'TCP', 'store.shop:6379', ''],
    ['ops', 'TCP', 'store.shop:5434', ''],
    ['ops', 'TCP', 'ledger-db.shop:5432', ''],
  ],
};

const HTTP = [{ name: 'http', port: 8080, targetPort: 8080 }];
const REGISTRY_ONLY = { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } };
const to = (host: string, port?: number) => ({ destination: { host, ...(port && { port: { number: port } }) } });

export const TRAFFIC: readonly Mesh[] = [
  {
    name: 'with Sidecars and services that are not exported everywhere',
    objects: (ip) => {
      const exported = (name: string, exportTo: string) =>
        service(ip, name, {
          app: 'orders',
          ports: HTTP,
          metadata: { annotations: { 'networking.istio.io/exportTo': exportTo } },
        });
      return [
        sidecar('shop', 'scope', { egress: [{ hosts: ['./*', 'istio-ingress/*'] }], ...REGISTRY_ONLY }),
        sidecar('dev', 'web', {
          workloadSelector: { labels: { app: 'web' } },
          ingress: [{ port: { number: 8080, protocol: 'HTTP', name: 'http' }, defaultEndpoint: '127.0.0.1:8080' }],
          egress: [{ hosts: ['*/*'] }],
        }),
        ...exported('private', '.'),
        ...exported('gateway-only', 'meshpass-system'),
        ...exported('both', 'meshpass-system, meshpass-ops'),
      ];
    },
    inside: { 'client to web': '502' },
    cases: [
      {
        file: EXPORTED,
        findings: [
          /^grant-does-not-work: grant dev does not work: no call reaches private\.shop:8080: .*meshpass-system of the mesh gateway/,
          /^grant-does-not-work: grant ops does not work: no call reaches gateway-only\.shop:8080: .*meshpass-ops of the grant/,
        ],
        broken: [['dev', 'GET', 'private.shop:8080', '/orders/1']],
      },
      { file: WHOLE },
    ],
  },
  {
    name: 'of which istiod reads some namespaces only',
    config: { discoverySelectors: [{ matchLabels: { mesh: 'in' } }], ...REGISTRY_ONLY },
    labels: {
      'istio-system': { mesh: 'in' },
      'istio-ingress': { mesh: 'in' },
      'meshpass-system': { mesh: 'in' },
      shop: { mesh: 'in' },
    },
    objects: () => [],
    inside: { 'client to web': '502' },
    cases: [
      { file: OPERATIONS },
      {
        file: WHOLE,
        findings: [
          /^grant-does-not-work: grant dev does not work: no call reaches web\.dev:80: istiod reads namespace dev/,
        ],
        broken: [['dev', 'GET', 'web.dev:80', '/']],
      },
    ],
  },
  {
    name: 'with DestinationRules',
    objects: () => [
      destinationRule('shop', 'orders', {
        host: 'orders',
        trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' }, connectionPool: { tcp: { maxConnections: 100 } } },
        subsets: [{ name: 'main', labels: { app: 'orders' } }],
      }),
      destinationRule('shop', 'ledger', {
        host: 'ledger-db.shop.svc.cluster.local',
        trafficPolicy: { tls: { mode: 'DISABLE' } },
        subsets: [{ name: 'main', labels: { app: 'ledger-db' } }],
      }),
      destinationRule('dev', 'web', { host: 'web', trafficPolicy: { tls: { mode: 'SIMPLE' } } }),
    ],
    inside: { 'client to ledger': 'closed', 'web to ledger': 'closed', 'client to web': '503' },
    cases: [
      {
        file: SUBSETS,
        findings: [
          /^grant-does-not-work: .* no call reaches ledger-db\.shop:5432: DestinationRule shop\/habit-ledger sets/,
        ],
        broken: [
          ['ops', 'TCP', 'ledger-db.shop:5432', ''],
          ['ops', 'TCP', 'ledger-db.shop:5432#main', ''],
        ],
      },
      {
        file: WHOLE,
        findings: [
          /^grant-does-not-work: .* no call reaches web\.dev:80: DestinationRule dev\/habit-web sets tls\.mode SIMPLE/,
        ],
        broken: [['dev', 'GET', 'web.dev:80', '/']],
      },
    ],
  },
  {
    name: 'with VirtualServices and ServiceEntries',
    objects: () => [
      virtualService('shop', 'orders', {
        hosts: ['orders'],
        http: [
          {
            match: [{ headers: { 'x-team': { exact: 'red' } } }],
            fault: { abort: { httpStatus: 418, percentage: { value: 100 } } },
            route: [to('orders', 8080)],
          },
          { match: [{ uri: { prefix: '/old' } }], redirect: { uri: '/orders/1' } },
          { match: [{ uri: { exact: '/refunds' } }], route: [to('web.dev.svc.cluster.local', 80)] },
          {
            match: [{ uri: { prefix: '/v1/' } }],
            rewrite: { uri: '/' },
            route: [to('orders', 8080)],
            mirror: to('web.dev.svc.cluster.local', 80).destination,
          },
          { route: [to('orders')] },
        ],
      }),
      serviceEntry('shop', 'api', {
        hosts: ['api.example.com'],
        ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
        resolution: 'DNS',
        location: 'MESH_EXTERNAL',
      }),
    ],
    inside: { 'client reads in team red': '418', 'client refunds': '200', 'web refunds': '200' },
    cases: [
      {
        file: OPERATIONS,
        findings: [
          /^note: calls to orders\.shop\.svc\.cluster\.local:8080 go to web\.dev\.svc\.cluster\.local:80, which is outside grant dev/,
          /^note: calls to orders\.shop\.svc\.cluster\.local:8080 are mirrored to web\.dev\.svc\.cluster\.local:80/,
        ],
      },
      {
        file: WHOLE,
        findings: [
          /^note: calls to orders\.shop\.svc\.cluster\.local:8080 go to web\.dev\.svc\.cluster\.local:80, which is outside grant ops/,
          /^note: calls to orders\.shop\.svc\.cluster\.local:8080 are mirrored to web\.dev\.svc\.cluster\.local:80/,
        ],
      },
    ],
  },
  {
    name: 'with headless services, many ports, and protocols by name and by appProtocol',
    objects: (ip) => [
      ...service(ip, 'catalog', {
        app: 'orders',
        headless: true,
        ports: [
          { name: 'http-main', port: 8080, targetPort: 8080 },
          { name: 'admin', port: 9191, targetPort: 9090, appProtocol: 'http' },
        ],
      }),
      ...service(ip, 'store', {
        app: 'ledger-db',
        ports: [
          { name: 'redis-main', port: 6379, targetPort: 5432 },
          { name: 'http-like', port: 5433, targetPort: 5432, appProtocol: 'tcp' },
          { name: 'mongo', port: 27017, targetPort: 5432 },
          { name: 'tls', port: 5434, targetPort: 5432 },
        ],
      }),
    ],
    cases: [{ file: PORTS }, { file: BOTH_PORTS }],
  },
];
