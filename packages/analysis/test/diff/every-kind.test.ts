/**
 * A change of one object next to a port: diff reports a change there, or names what it does not compare, or the evaluator
 * decides every sampled call as before. For each kind of object, in a mesh of sidecars and in one with a waypoint.
 */
import {
  applyResources,
  findMeshConfig,
  identityOf,
  loadManifests,
  ofKind,
  type Resource,
  type ResourceKind,
  viewMesh,
} from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compareMeaning } from '../../src/diff/compare.ts';
import { callOf } from '../../src/evaluate/caller.ts';
import { findEndpoints } from '../../src/evaluate/target.ts';
import { evaluate } from '../../src/evaluate/verdict.ts';

const TARGET = 'orders.shop:8080';
const ISSUER = 'https://idp.example';

const object = (api: string, kind: string, place: string, content: string, more = '') =>
  `---\napiVersion: ${api}\nkind: ${kind}\nmetadata: {${place.includes('/') ? `namespace: ${place.split('/')[0]}, ` : ''}name: ${place.split('/').at(-1)}${more}}\n${content}\n`;
const security = (kind: string, place: string, spec: string, more = '') =>
  object('security.istio.io/v1', kind, place, `spec: ${spec}`, more);
const networking = (kind: string, place: string, spec: string) =>
  object('networking.istio.io/v1', kind, place, `spec: ${spec}`);
const gatewayApi = (kind: string, place: string, spec: string) =>
  object('gateway.networking.k8s.io/v1', kind, place, `spec: ${spec}`);
const core = (kind: string, place: string, content: string, more = '') => object('v1', kind, place, content, more);
const template = (app: string, labels = '', annotations = '') =>
  `{metadata: {labels: {app: ${app}${labels}}, annotations: {${annotations}}}, spec: {serviceAccountName: ${app}, containers: [{name: app}]}}`;
const controller = (kind: string, place: string, more = '', annotations = '') =>
  object('apps/v1', kind, place, `spec: {template: ${template(place.split('/')[1]!, more, annotations)}}`);
const service = (spec: string, more = '') => core('Service', 'shop/orders', `spec: ${spec}`, more);

const SELECTED = 'selector: {matchLabels: {app: orders}}';
const TO_SERVICE = 'targetRefs: [{kind: Service, group: "", name: orders}]';
const PORTS = 'clusterIP: 10.0.0.9, selector: {app: orders}, ports: [{name: http, port: 8080}]';
const callers = [
  core('Namespace', 'dev', '', ', labels: {istio-injection: enabled}'),
  controller('Deployment', 'dev/web'),
  core('Namespace', 'amb', '', ', labels: {istio.io/dataplane-mode: ambient}'),
  controller('Deployment', 'amb/web'),
].join('');
const denied = '{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]';
const token = (more = '') => `{jwtRules: [{issuer: ${ISSUER}, jwksUri: ${ISSUER}/keys${more}}]`;

interface Base {
  readonly mesh: string;
  /** How policies attach to the target. */
  readonly attached: string;
}
const MESHES: Readonly<Record<string, Base>> = {
  'behind a sidecar': {
    mesh:
      callers +
      core('Namespace', 'shop', '', ', labels: {istio-injection: enabled}') +
      service(`{${PORTS}}`) +
      controller('Deployment', 'shop/orders') +
      security('AuthorizationPolicy', 'shop/deny', `${denied}, ${SELECTED}}`) +
      security('PeerAuthentication', 'shop/strict', '{mtls: {mode: STRICT}}'),
    attached: SELECTED,
  },
  'behind a waypoint': {
    mesh:
      callers +
      core('Namespace', 'shop', '', ', labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: gate}') +
      service(`{${PORTS}}`) +
      controller('Deployment', 'shop/orders') +
      gatewayApi('Gateway', 'shop/gate', '{gatewayClassName: istio-waypoint}') +
      security('AuthorizationPolicy', 'shop/deny', `${denied}, ${TO_SERVICE}}`),
    attached: TO_SERVICE,
  },
};

const META = 'sidecar.istio.io/inject: "false"';
const routes = (kind: string) => [
  gatewayApi(kind, 'shop/r', '{parentRefs: [{kind: Service, group: "", name: orders}], rules: []}'),
  gatewayApi(kind, 'shop/r', '{parentRefs: [{name: public}], rules: []}'),
];
const controllers = (kind: string) => [
  controller(kind, 'shop/orders', '', 'traffic.sidecar.istio.io/excludeInboundPorts: "8080"'),
  controller(kind, 'shop/orders', ', istio.io/dataplane-mode: none'),
  controller(kind, 'dev/web', ', istio.io/dataplane-mode: ambient', META),
];
const patches = (spec: string) => (kind: string, api: string) => [
  object(api, kind, 'shop/p', `spec: ${spec}`),
  object(api, kind, 'istio-system/p', `spec: ${spec}`),
  object(api, kind, 'dev/p', `spec: ${spec}`),
];

/** Forms of one object of each kind. Each of them comes, goes, and replaces another. */
const FORMS: { readonly [Kind in ResourceKind]: (base: Base) => readonly string[] } = {
  AuthorizationPolicy: ({ attached }) => [
    security('AuthorizationPolicy', 'shop/p', `{rules: [{from: [{source: {namespaces: [dev]}}]}], ${attached}}`),
    security(
      'AuthorizationPolicy',
      'shop/p',
      `{action: DENY, rules: [{}], ${attached}}`,
      ', labels: {istio.io/rev: x}',
    ),
    security(
      'AuthorizationPolicy',
      'istio-system/p',
      '{action: DENY, rules: [{from: [{source: {namespaces: [dev]}}]}]}',
    ),
    security('AuthorizationPolicy', 'dev/p', '{action: DENY, rules: [{}]}'),
  ],
  RequestAuthentication: ({ attached }) => [
    security('RequestAuthentication', 'shop/t', `${token()}, ${attached}}`),
    security('RequestAuthentication', 'shop/t', `${token(', fromHeaders: [{name: x-token}]')}, ${attached}}`),
    security('RequestAuthentication', 'shop/t', `${token(', audiences: [a]')}, ${attached}}`),
    security('RequestAuthentication', 'dev/t', `${token()}}`),
  ],
  PeerAuthentication: () => [
    security('PeerAuthentication', 'shop/strict', '{mtls: {mode: PERMISSIVE}}'),
    security('PeerAuthentication', 'shop/one', `{${SELECTED}, mtls: {mode: DISABLE}}`),
    security('PeerAuthentication', 'istio-system/all', '{mtls: {mode: STRICT}}'),
  ],
  Gateway: () => [
    networking('Gateway', 'ingress/g', '{selector: {app: orders}, servers: []}'),
    networking('Gateway', 'ingress/g', '{selector: {app: web}, servers: []}'),
  ],
  VirtualService: () => [
    networking('VirtualService', 'shop/v', '{hosts: [orders], http: [{route: [{destination: {host: other}}]}]}'),
    networking('VirtualService', 'dev/v', '{hosts: ["*.shop.svc.cluster.local"], http: [{fault: {}}]}'),
    networking('VirtualService', 'shop/v', '{hosts: [shop.example.com], gateways: [g], http: []}'),
  ],
  DestinationRule: () => [
    networking('DestinationRule', 'shop/d', '{host: orders, trafficPolicy: {tls: {mode: DISABLE}}}'),
    networking('DestinationRule', 'shop/d', '{host: orders, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}'),
    networking('DestinationRule', 'shop/d', '{host: orders, subsets: [{name: a, labels: {version: a}}]}'),
  ],
  ServiceEntry: () => [
    networking(
      'ServiceEntry',
      'shop/e',
      '{hosts: [a.test], ports: [{number: 8080, name: tcp, protocol: TCP}], resolution: STATIC, workloadSelector: {labels: {app: orders}}}',
    ),
    networking('ServiceEntry', 'shop/e', '{hosts: [b.test], ports: [{number: 80, name: http, protocol: HTTP}]}'),
  ],
  Sidecar: () => [
    networking('Sidecar', 'shop/s', '{ingress: [{port: {number: 8080, protocol: TCP, name: tcp}}]}'),
    networking(
      'Sidecar',
      'shop/s',
      '{ingress: [{port: {number: 8080, protocol: HTTPS, name: a}, tls: {mode: SIMPLE}}]}',
    ),
    networking('Sidecar', 'shop/s', '{egress: [{hosts: ["./*"]}]}'),
  ],
  EnvoyFilter: () =>
    patches('{configPatches: [{applyTo: HTTP_FILTER}]}')('EnvoyFilter', 'networking.istio.io/v1alpha3'),
  WasmPlugin: () => patches('{url: oci://x, phase: AUTHN}')('WasmPlugin', 'extensions.istio.io/v1alpha1'),
  TrafficExtension: () => patches('{lua: {inlineCode: x}}')('TrafficExtension', 'extensions.istio.io/v1alpha1'),
  Service: () => [
    service(`{${PORTS.replace('http', 'tcp')}}`),
    service(`{${PORTS}}`, ', labels: {istio.io/use-waypoint: none}'),
    service(`{${PORTS}}`, ', labels: {istio.io/ingress-use-waypoint: "true"}'),
    core('Service', 'shop/also', 'spec: {selector: {app: orders}, ports: [{name: tcp, port: 9, targetPort: 8080}]}'),
  ],
  Namespace: () => [
    core('Namespace', 'shop', '', ', labels: {istio-injection: disabled}'),
    core('Namespace', 'dev', '', ', labels: {istio.io/dataplane-mode: ambient}'),
    core('Namespace', 'amb', '', ', labels: {istio-injection: enabled}'),
  ],
  ServiceAccount: () => [core('ServiceAccount', 'shop/orders', '')],
  Pod: () =>
    ['shop/orders', 'dev/web', 'amb/web'].map((place) =>
      core(
        'Pod',
        place,
        'spec: {hostNetwork: true, serviceAccountName: web, containers: [{name: app}]}',
        `, labels: {app: ${place.split('/')[1]}}`,
      ),
    ),
  Deployment: () => controllers('Deployment'),
  StatefulSet: () => controllers('StatefulSet'),
  DaemonSet: () => controllers('DaemonSet'),
  ReplicaSet: () => controllers('ReplicaSet'),
  Job: () => controllers('Job').map((one) => one.replace('apps/v1', 'batch/v1')),
  KubernetesGateway: () => [
    gatewayApi('Gateway', 'shop/gate', '{gatewayClassName: other}'),
    gatewayApi('Gateway', 'shop/other', '{gatewayClassName: istio-waypoint}'),
  ],
  GatewayClass: () => [
    object(
      'gateway.networking.k8s.io/v1',
      'GatewayClass',
      'istio-waypoint',
      'spec: {}',
      ', labels: {istio.io/waypoint-for: workload}',
    ),
  ],
  ListenerSet: () => [gatewayApi('ListenerSet', 'shop/l', '{parentRef: {name: gate}, listeners: []}')],
  XListenerSet: () => [
    object(
      'gateway.networking.x-k8s.io/v1alpha1',
      'XListenerSet',
      'shop/l',
      'spec: {parentRef: {name: gate}, listeners: []}',
    ),
  ],
  HTTPRoute: () => routes('HTTPRoute'),
  GRPCRoute: () => routes('GRPCRoute'),
  TLSRoute: () => routes('TLSRoute').map((one) => one.replace('io/v1', 'io/v1alpha2')),
  TCPRoute: () => routes('TCPRoute').map((one) => one.replace('io/v1', 'io/v1alpha2')),
  ReferenceGrant: () => [
    gatewayApi('ReferenceGrant', 'shop/a', '{from: [], to: [{group: "", kind: Service}]}').replace(
      'io/v1',
      'io/v1beta1',
    ),
  ],
  BackendTLSPolicy: () => [gatewayApi('BackendTLSPolicy', 'shop/b', '{targetRefs: [{kind: Service, name: orders}]}')],
  SecurityPolicy: () => [
    object(
      'gateway.envoyproxy.io/v1alpha1',
      'SecurityPolicy',
      'shop/s',
      'spec: {targetRefs: [{kind: HTTPRoute, name: r}]}',
    ),
  ],
  Ingress: () => [object('networking.k8s.io/v1', 'Ingress', 'shop/i', 'spec: {rules: []}')],
  IngressClass: () => [object('networking.k8s.io/v1', 'IngressClass', 'i', 'spec: {controller: nginx}')],
  IngressClassParams: () => [object('elbv2.k8s.aws/v1beta1', 'IngressClassParams', 'i', 'spec: {}')],
  Role: () => [object('rbac.authorization.k8s.io/v1', 'Role', 'shop/r', 'rules: []')],
  ClusterRole: () => [object('rbac.authorization.k8s.io/v1', 'ClusterRole', 'r', 'rules: []')],
  RoleBinding: () => [
    object('rbac.authorization.k8s.io/v1', 'RoleBinding', 'shop/r', 'roleRef: {kind: Role, name: r}\nsubjects: []'),
  ],
  ClusterRoleBinding: () => [
    object(
      'rbac.authorization.k8s.io/v1',
      'ClusterRoleBinding',
      'r',
      'roleRef: {kind: ClusterRole, name: r}\nsubjects: []',
    ),
  ],
  ConfigMap: () => [
    core('ConfigMap', 'istio-system/istio', 'data: {mesh: "pathNormalization: {normalization: NONE}"}'),
    core('ConfigMap', 'istio-system/istio', 'data: {mesh: "trustDomainAliases: [other.example]"}'),
    core('ConfigMap', 'istio-system/istio', 'data: {mesh: "trustDomain: other.example"}'),
    core('ConfigMap', 'shop/istio-ca-root-cert', 'data: {root-cert.pem: x}'),
  ],
};

type State = readonly Resource[];

function read(text: string): State {
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  expect(problems).toEqual([]);
  return resources;
}

/** Reports what diff finds at the target: `changes`, a reason why it is unknown, or undefined if nothing. */
function difference(before: State, after: State): string | undefined {
  const { changes, unknown } = compareMeaning(before, after, findMeshConfig(after));
  const isTarget = ({ where }: (typeof changes | typeof unknown)[number]) =>
    where.some(({ services }) => services.includes(TARGET));
  return changes.some(isTarget) ? 'changes' : unknown.find(isTarget)?.reason;
}

const PRINCIPALS = [
  ...['dev/sa/web', 'amb/sa/web', 'shop/sa/gate', 'other/sa/stranger'].map((one) => ({
    principal: `cluster.local/ns/${one}`,
  })),
  {},
];
const CLAIMS = [
  {},
  ...[
    { sub: 'a', aud: ['a'] },
    { sub: 'a', aud: ['b'] },
  ].map((one) => ({ claims: { iss: ISSUER, ...one } })),
];
const REQUESTS = ['GET', 'DELETE'].flatMap((method) => ['/', '/a//b', '/a%2f../b'].map((path) => ({ method, path })));

/** Answers of the evaluator to sampled calls, by call. */
function answers(state: State): ReadonlyMap<string, string> {
  const endpoints = findEndpoints(viewMesh(state), TARGET);
  const asked = PRINCIPALS.flatMap((principal) =>
    CLAIMS.flatMap((claims) => REQUESTS.map((http) => ({ caller: { ...principal, ...claims }, http }))),
  );
  return new Map(
    asked.map(({ caller, http }) => {
      const found = endpoints.map((endpoint) => evaluate(endpoint, callOf(endpoint, caller, http)));
      const said = found.map(({ verdict, unknown = '' }) => `${verdict} ${unknown}`);
      return [JSON.stringify({ caller, http }), [...new Set(said)].join()];
    }),
  );
}

/** Diff counts callers whose proxy was not read as in ambient mode, in both states. */
const UNREAD_CALLER = /not known whether the caller is in ambient mode/;
describe.each(Object.entries(MESHES))('%s', (_, base) => {
  const mesh = read(base.mesh);

  it.each(Object.entries(FORMS))('%s', (_kind, formsIn) => {
    const states = formsIn(base).flatMap((form): State[] => {
      const [object] = read(form) as [Resource];
      return [mesh.filter((one) => identityOf(one) !== identityOf(object)), [...applyResources(mesh, [object])]];
    });
    // Without its Service, the target does not exist.
    const meshes = [mesh, ...states].filter((state) =>
      ofKind(state, 'Service').some(({ metadata }) => metadata.name === 'orders'),
    );
    expect(meshes.length).toBeGreaterThan(1);
    const decided = new Map(meshes.map((mesh) => [mesh, answers(mesh)]));
    for (const before of meshes)
      for (const after of meshes) {
        const found = difference(before, after);
        if (before === after) expect(found).toBeUndefined();
        if (found !== undefined) continue;
        const was = decided.get(before)!;
        const changed = [...decided.get(after)!].filter(([call, is]) => is !== was.get(call));
        expect(changed.filter(([call, is]) => ![is, was.get(call)].some((one) => UNREAD_CALLER.test(one!)))).toEqual(
          [],
        );
      }
  });
});

it('an unknown port does not count as compared', () => {
  const { mesh, attached } = MESHES['behind a sidecar']!;
  const [disable] = FORMS.DestinationRule({ mesh, attached }) as [string];
  const compared = (after: string) => compareMeaning(read(mesh), read(after), findMeshConfig(read(after)));
  const { unknown, endpoints } = compared(mesh + disable);
  expect(unknown.flatMap(({ where }) => where).length).toBeGreaterThan(0);
  expect(endpoints).toBe(compared(mesh).endpoints - unknown.flatMap(({ where }) => where).length);
});

describe('a difference that formulas do not show', () => {
  const { mesh: sidecar } = MESHES['behind a sidecar']!;
  const { mesh: waypoint } = MESHES['behind a waypoint']!;
  const keys = (uri: string) =>
    security('RequestAuthentication', 'shop/t', `${token().replace(`${ISSUER}/keys`, uri)}, ${SELECTED}}`);
  const [disable, mutual, subset] = FORMS.DestinationRule(MESHES['behind a sidecar']!) as [string, string, string];
  const [map] = FORMS.ConfigMap(MESHES['behind a sidecar']!) as [string];
  const [entry] = FORMS.ServiceEntry(MESHES['behind a waypoint']!) as [string];

  const settings = (mesh: string) => core('ConfigMap', 'istio-system/istio', `data: {mesh: ${JSON.stringify(mesh)}}`);
  const provider = (name: string) =>
    settings(`extensionProviders: [{name: opa, envoyExtAuthzGrpc: {service: ${name}.svc.cluster.local, port: 9}}]`);
  const watched = settings('discoverySelectors: [{matchLabels: {istio-injection: enabled}}]');
  const virtualService = (hosts: string, to: string) =>
    networking('VirtualService', 'shop/v', `{${hosts}http: [{route: [{destination: {host: ${to}}}]}]}`);

  it.each([
    [
      'keys of tokens',
      sidecar + keys('https://a'),
      sidecar + keys('https://b'),
      'RequestAuthentication shop/t',
      'keys',
    ],
    [
      'a prefix of tokens',
      sidecar + keys('a, fromHeaders: [{name: authorization}]'),
      sidecar + keys('a, fromHeaders: [{name: authorization, prefix: "JWT "}]'),
      'RequestAuthentication shop/t',
      'prefixes',
    ],
    ['client TLS of callers', sidecar, sidecar + disable, 'DestinationRule shop/d', 'client TLS'],
    ['client TLS that ends', sidecar + disable, sidecar + subset, 'DestinationRule shop/d', 'client TLS'],
    ['settings of the mesh', sidecar + map, sidecar, 'ConfigMap istio-system/istio', 'settings of the mesh'],
    [
      'the definition of an authorizer',
      sidecar + provider('opa.shop'),
      sidecar + provider('other.dev'),
      'ConfigMap istio-system/istio',
      'settings of the mesh',
    ],
    [
      'mutual TLS of callers',
      sidecar + settings('{}'),
      sidecar + settings('enableAutoMtls: false'),
      'ConfigMap istio-system/istio',
      'settings of the mesh',
    ],
    [
      'settings of the injector',
      sidecar + core('ConfigMap', 'istio-system/istio-sidecar-injector', 'data: {values: a}'),
      sidecar + core('ConfigMap', 'istio-system/istio-sidecar-injector', 'data: {values: b}'),
      'ConfigMap istio-system/istio-sidecar-injector',
      'settings of the mesh',
    ],
    [
      'whether istiod reads a namespace',
      sidecar + watched,
      sidecar.replace('name: shop, labels: {istio-injection: enabled}', 'name: shop, labels: {istio.io/rev: default}') +
        watched,
      'Namespace shop',
      'discoverySelectors',
    ],
    [
      'an entry with the host of the Service',
      sidecar,
      sidecar +
        networking('ServiceEntry', 'dev/e', '{hosts: [orders.shop.svc.cluster.local], location: MESH_EXTERNAL}'),
      'ServiceEntry dev/e',
      'one of its hosts is a Service',
    ],
    [
      'a VirtualService at a waypoint',
      waypoint + virtualService('hosts: [orders], ', 'a'),
      waypoint + virtualService('hosts: [orders], ', 'b'),
      'VirtualService shop/v',
      'routes at a waypoint',
    ],
    [
      'a delegate at a waypoint',
      waypoint + virtualService('', 'a'),
      waypoint + virtualService('', 'b'),
      'VirtualService shop/v',
      'routes at a waypoint',
    ],
    ['a host of its own', waypoint, waypoint + entry, 'ServiceEntry shop/e', 'its hosts'],
    ['a route', waypoint, waypoint + routes('HTTPRoute')[0], 'HTTPRoute shop/r', 'routes at a waypoint'],
  ])('makes the port unknown, and is named: %s', (_, before, after, name, why) => {
    expect(difference(read(before), read(after))).toMatch(
      new RegExp(`^${name} \\(mesh\\.yaml:\\d+\\) differs, and .*${why}`),
    );
  });

  it.each([
    ["Istio's own client TLS", sidecar, sidecar + mutual],
    ['a subset', sidecar, sidecar + subset],
    ['a default of the mesh', sidecar, sidecar + map.replace('NONE', 'BASE')],
    [
      'a log or trace of the mesh',
      sidecar,
      sidecar +
        settings(
          '{accessLogFile: /dev/stdout, enableAutoMtls: true, defaultConfig: {tracing: {}}, extensionProviders: [{name: otel, opentelemetry: {port: 4317}}]}',
        ),
    ],
    ['a VirtualService of another host', waypoint, waypoint + virtualService('hosts: [a.test], ', 'a')],
    ['a route of a sidecar', sidecar, sidecar + routes('HTTPRoute')[0]],
    ['a route of a gateway', waypoint, waypoint + routes('HTTPRoute')[1]],
    [
      'keys of another workload',
      sidecar + keys('a').replace('app: orders', 'app: x'),
      sidecar + keys('b').replace('app: orders', 'app: x'),
    ],
    ['an account', waypoint, waypoint + core('ServiceAccount', 'shop/orders', '')],
    ['a timeout', sidecar + keys('a'), sidecar + keys('a, timeout: 5s')],
  ])('is not invented: %s', (_, before, after) => {
    expect(difference(read(before), read(after))).toBeUndefined();
  });
});
