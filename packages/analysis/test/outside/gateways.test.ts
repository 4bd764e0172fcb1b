import { findMeshConfig, loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { listExposures } from '../../src/exposure/list.ts';
import { canIOutside } from '../../src/outside/call/decide.ts';
import { compareOutside } from '../../src/outside/compare.ts';

const object = (apiVersion: string, kind: string, name: string, spec: object, more: object = {}) => ({
  apiVersion,
  kind,
  metadata: { name, namespace: 'ingress', ...more },
  spec,
});
const gateway = (name: string, selector: object, ...servers: object[]) =>
  object('networking.istio.io/v1', 'Gateway', name, { selector, servers });
const http = (host: string, number = 80, more: object = {}) => ({
  port: { number, name: `http-${number}`, protocol: 'HTTP' },
  hosts: [host],
  ...more,
});
const https = (host: string, mode: string) => ({
  port: { number: 443, name: `https-${mode}`, protocol: 'HTTPS' },
  hosts: [host],
  tls: { mode, credentialName: mode },
});
const route = (name: string, host: string, http: object) =>
  object(
    'networking.istio.io/v1',
    'VirtualService',
    name,
    { hosts: [host], gateways: [`ingress/${name}`], http: [http] },
    { namespace: 'shop' },
  );
const TO_WEB = { route: [{ destination: { host: 'web', port: { number: 8080 } } }] };
const service = (ports: object[]) =>
  object('v1', 'Service', 'gw', { type: 'LoadBalancer', selector: { app: 'gw' }, ports });
const POD = object(
  'v1',
  'Pod',
  'gw-1',
  { serviceAccountName: 'gw', containers: [{ name: 'istio-proxy' }] },
  { labels: { app: 'gw', istio: 'gw' } },
);
const WEB = [
  object(
    'v1',
    'Service',
    'web',
    { selector: { app: 'web' }, ports: [{ name: 'http', port: 8080 }] },
    { namespace: 'shop' },
  ),
  object(
    'v1',
    'Pod',
    'web',
    { serviceAccountName: 'web', containers: [{ name: 'app' }, { name: 'istio-proxy' }] },
    { namespace: 'shop', labels: { app: 'web' } },
  ),
];
const PUBLISHED = [service([{ name: 'http', port: 80 }]), POD, ...WEB];
const OPEN = [gateway('any', { app: 'gw' }, http('*')), route('any', '*', TO_WEB)];

const read = (objects: readonly object[]) => {
  const { resources, problems } = loadManifests(objects.map((one) => stringify(one)).join('---\n'), 'mesh.yaml');
  expect(problems).toEqual([]);
  return resources;
};
const compared = (before: readonly object[], after: readonly object[]) => {
  const { changes, unknown } = compareOutside(read(before), read(after), { rootNamespace: 'istio-system' });
  return { changes: changes.map(({ kind, witness }) => `${kind} ${witness.url}`), unknown };
};
const decided = (objects: readonly object[], port: number, authority: string, more: object = {}, tls?: object) =>
  canIOutside(viewMesh(read(objects), findMeshConfig(read(objects))), {
    port,
    ...(tls && { tls }),
    http: { method: 'GET', path: '/', authority, ...more },
  }).answers.map(({ verdict, by, status }) => [verdict, by, status].filter((one) => one !== undefined).join(' '));
const verdicts = (objects: readonly object[]) => listExposures(read(objects)).map(({ verdict }) => verdict);

describe('EnvoyFilters at a gateway', () => {
  const deny = object('security.istio.io/v1', 'AuthorizationPolicy', 'deny', {
    selector: { matchLabels: { app: 'gw' } },
    action: 'DENY',
    rules: [{}],
  });
  const filter = (patch: object, namespace = 'ingress') =>
    object(
      'networking.istio.io/v1alpha3',
      'EnvoyFilter',
      'patch',
      { workloadSelector: { labels: { app: 'gw' } }, configPatches: [patch] },
      { namespace },
    );
  const rbac = {
    context: 'GATEWAY',
    listener: {
      filterChain: {
        filter: {
          name: 'envoy.filters.network.http_connection_manager',
          subFilter: { name: 'envoy.filters.http.rbac' },
        },
      },
    },
  };
  const removed = { applyTo: 'HTTP_FILTER', match: rbac, patch: { operation: 'REMOVE' } };
  const limited = {
    applyTo: 'HTTP_FILTER',
    match: { context: 'GATEWAY' },
    patch: { operation: 'INSERT_FIRST', value: { name: 'envoy.filters.http.local_ratelimit' } },
  };
  const routes = { applyTo: 'HTTP_ROUTE', match: { context: 'GATEWAY' }, patch: { operation: 'REMOVE' } };

  it('does not know whether a gateway without its policy filter is closed', () => {
    expect(verdicts([...PUBLISHED, ...OPEN, deny])).toEqual(['closed']);
    expect(verdicts([...PUBLISHED, ...OPEN, deny, filter(removed)])).toEqual(['unknown']);
    expect(verdicts([...PUBLISHED, ...OPEN, deny, filter(limited)])).toEqual(['closed']);
  });

  it.each([
    ['its policy filter', removed],
    ['its routes', routes],
  ])('does not compare states in which one changes %s', (_, patch) => {
    const base = [...PUBLISHED, ...OPEN, deny];
    expect(compared(base, base)).toEqual({ changes: [], unknown: [] });
    for (const [before, after] of [
      [base, [...base, filter(patch)]],
      [[...base, filter(patch)], base],
    ] as const) {
      const { changes, unknown } = compared(before, after);
      expect(changes).toEqual([]);
      expect(unknown).toMatchObject([
        { reasons: ['EnvoyFilter ingress/patch may change what a proxy on the way accepts, and differs'] },
      ]);
    }
    expect(compared([...base, filter(patch)], [...base, filter(patch)])).toEqual({ changes: [], unknown: [] });
  });

  it('does not compare states whose gateway Pods are not among the files', () => {
    const base = [...WEB, ...OPEN];
    for (const place of ['ingress', 'elsewhere'])
      expect(compared(base, [...base, filter(routes, place)]).unknown).toHaveLength(1);
  });

  it('does not know whether a redirect to HTTPS remains', () => {
    const objects = [
      ...PUBLISHED,
      gateway('any', { app: 'gw' }, http('*', 80, { tls: { httpsRedirect: true } })),
      route('any', '*', TO_WEB),
    ];
    const kept = { applyTo: 'VIRTUAL_HOST', match: { context: 'GATEWAY' }, patch: { operation: 'MERGE' } };
    expect(verdicts([...objects, filter(kept)])).toEqual(['unknown']);
    expect(compared(objects, [...objects, filter(kept)]).unknown).toHaveLength(1);
  });

  it('does not know whether a listener refuses a connection', () => {
    const listener = {
      applyTo: 'LISTENER',
      match: { context: 'GATEWAY' },
      patch: { operation: 'ADD', value: { address: { socket_address: { port_value: 9000 } } } },
    };
    expect(decided([...PUBLISHED, ...OPEN], 9000, 'x.example.com')).toEqual(['no listener']);
    expect(decided([...PUBLISHED, ...OPEN, filter(listener)], 9000, 'x.example.com')).toEqual(['unknown listener']);
    expect(decided([...PUBLISHED, ...OPEN, filter(listener)], 80, 'x.example.com', {}, { sni: 'x' })).toEqual([
      'unknown gateway',
    ]);
  });
});

describe('Gateways that select the same Pods', () => {
  const blocked = [
    gateway('admin', { istio: 'gw' }, http('admin.example.com')),
    route('admin', 'admin.example.com', { directResponse: { status: 403 } }),
  ];

  it('share the listeners of a port, whatever their selectors', () => {
    const base = [...PUBLISHED, ...OPEN];
    expect(compared([...base, ...blocked], base).changes).toEqual(['gains http://admin.example.com/']);
    expect(compared(base, [...base, ...blocked]).changes).toEqual(['loses http://admin.example.com/']);
    expect(decided([...base, ...blocked], 80, 'admin.example.com')).toEqual(['no route 403']);
    expect(decided([...base, ...blocked], 80, 'x.example.com')).toEqual(['yes workload']);
  });

  it('share them at those Pods only', () => {
    const other = { ...POD, metadata: { name: 'gw-2', namespace: 'ingress', labels: { app: 'gw' } } };
    const both = [...PUBLISHED, other, ...OPEN, ...blocked];
    expect(new Set(decided(both, 80, 'admin.example.com'))).toEqual(new Set(['no route 403', 'yes workload']));
    expect(compared(both, [...PUBLISHED, other, ...OPEN])).toEqual({ changes: [], unknown: [] });
  });

  it('choose a server by SNI among all of them', () => {
    const base = [
      ...PUBLISHED,
      gateway('any', { app: 'gw' }, https('*.example.com', 'SIMPLE')),
      route('any', '*', TO_WEB),
    ];
    const mutual = [
      gateway('admin', { istio: 'gw' }, https('admin.example.com', 'MUTUAL')),
      route('admin', 'admin.example.com', TO_WEB),
    ];
    const sni = { sni: 'admin.example.com' };
    expect(decided([...base, ...mutual], 443, 'admin.example.com', {}, sni)).toEqual(['no tls']);
    expect(decided(base, 443, 'admin.example.com', {}, sni)).toEqual(['yes workload']);
    expect(compared([...base, ...mutual], base)).toMatchObject({
      changes: [],
      unknown: [{ reasons: ['only one state requires a client certificate for admin.example.com at https:443'] }],
    });
    expect(compared([...base, ...mutual], [...base, ...mutual])).toEqual({ changes: [], unknown: [] });
  });
});

describe('ports of a server', () => {
  const mapped = [service([{ name: 'http', port: 80, targetPort: 8080 }]), POD, ...WEB];

  it('are those of the Services that lead to it', () => {
    const objects = [...mapped, gateway('any', { app: 'gw' }, http('*', 8080)), route('any', '*', TO_WEB)];
    expect(decided(objects, 80, 'x.example.com')).toEqual(['yes workload']);
    expect(listExposures(read(objects)).map(({ witness }) => witness?.url)).toEqual(['http://HOST/']);
  });

  it('are one listener if they have one target port', () => {
    const objects = [
      ...mapped,
      gateway('any', { app: 'gw' }, http('shop.example.com')),
      route('any', 'shop.example.com', TO_WEB),
      gateway('admin', { app: 'gw' }, http('admin.example.com', 8080)),
      route('admin', 'admin.example.com', TO_WEB),
    ];
    expect(decided(objects, 80, 'shop.example.com')).toEqual(['yes workload']);
    expect(decided(objects, 80, 'admin.example.com')).toEqual(['yes workload']);
  });
});

describe('a redirect to HTTPS', () => {
  const objects = [
    ...PUBLISHED,
    gateway('any', { app: 'gw' }, http('*', 80, { tls: { httpsRedirect: true } })),
    route('any', '*', TO_WEB),
  ];
  const mesh = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'istio', namespace: 'istio-system' },
    data: { mesh: 'defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}' },
  };
  const viaProxy = { headers: { 'x-forwarded-proto': 'https' } };

  it('does not concern calls that a trusted proxy received with TLS', () => {
    expect(decided(objects, 80, 'x.example.com', viaProxy)).toEqual(['no route 301']);
    expect(verdicts(objects)).toEqual([]);
    const trusted = [...objects, mesh];
    expect(decided(trusted, 80, 'x.example.com', viaProxy)).toEqual(['yes workload']);
    expect(decided(trusted, 80, 'x.example.com')).toEqual(['no route 301']);
    expect(listExposures(read(trusted))).toMatchObject([
      { verdict: 'open', witness: { headers: { 'x-forwarded-proto': 'https' } } },
    ]);
  });
});

describe('a Gateway whose address is a Service that is not among the files', () => {
  const manual = [
    ...WEB,
    object(
      'gateway.networking.k8s.io/v1',
      'Gateway',
      'pub',
      {
        gatewayClassName: 'istio',
        addresses: [{ type: 'Hostname', value: 'ext.ingress.svc.cluster.local' }],
        listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }],
      },
      { namespace: 'shop' },
    ),
    object(
      'gateway.networking.k8s.io/v1',
      'HTTPRoute',
      'r',
      { parentRefs: [{ name: 'pub' }], rules: [{ backendRefs: [{ name: 'web', port: 8080 }] }] },
      { namespace: 'shop' },
    ),
  ];
  const policy = (action: string, spec: object) =>
    object('security.istio.io/v1', 'AuthorizationPolicy', 'p', { action, ...spec }, { namespace: 'shop' });
  const allowed = (principal: string) =>
    policy('ALLOW', {
      selector: { matchLabels: { app: 'web' } },
      rules: [{ from: [{ source: { principals: [`cluster.local/ns/${principal}`] } }] }],
    });

  it.each(['shop/sa/pub-istio', 'ingress/sa/ext'])('has no known account, as %s', (principal) => {
    expect(decided([...manual, allowed(principal)], 80, 'x.example.com')).toEqual(['unknown gateway']);
  });

  it('may have any policy', () => {
    expect(verdicts(manual)).toEqual(['unknown']);
    const target = { kind: 'Gateway', group: 'gateway.networking.k8s.io', name: 'pub' };
    const denied = [...manual, policy('DENY', { targetRefs: [target], rules: [{}] })];
    expect(compared(manual, denied)).toMatchObject({ changes: [], unknown: [{ destination: expect.any(String) }] });
    expect(compared(denied, denied)).toEqual({ changes: [], unknown: [] });
  });
});
