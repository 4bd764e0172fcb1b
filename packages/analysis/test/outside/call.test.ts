import { loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { canIOutside } from '../../src/outside/call/decide.ts';
import type { OutsideRequest } from '../../src/outside/call/request.ts';

const object = (
  kind: string,
  name: string,
  namespace: string,
  spec: object,
  apiVersion = 'networking.istio.io/v1',
) => ({
  apiVersion,
  kind,
  metadata: { name, namespace },
  spec,
});
const GATEWAY_POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'gateway', namespace: 'ingress', labels: { app: 'gateway' } },
  spec: { serviceAccountName: 'gateway', containers: [{ name: 'istio-proxy' }] },
};
const gateway = (...servers: object[]) =>
  object('Gateway', 'public', 'ingress', { selector: { app: 'gateway' }, servers });
const HTTP = { port: { number: 80, protocol: 'HTTP', name: 'http' }, hosts: ['*'] };
const https = (mode: string, host = '*', number = 443) => ({
  port: { number, protocol: 'HTTPS', name: `https-${mode}-${host}` },
  hosts: [host],
  tls: { mode, credentialName: 'public' },
});
const SERVICE = object(
  'Service',
  'orders',
  'shop',
  { selector: { app: 'orders' }, ports: [{ port: 80, name: 'http' }] },
  'v1',
);
const to = { route: [{ destination: { host: 'orders', port: { number: 80 } } }] };
const routes = (...http: object[]) =>
  object('VirtualService', 'orders', 'shop', { hosts: ['shop.example.com'], gateways: ['ingress/public'], http });
const policy = (namespace: string, app: string, spec: object) =>
  object(
    'AuthorizationPolicy',
    'policy',
    namespace,
    { selector: { matchLabels: { app } }, ...spec },
    'security.istio.io/v1',
  );
const get = (path: string, more: object = {}) => ({ method: 'GET', path, authority: 'shop.example.com', ...more });

function decide(objects: readonly object[], request: OutsideRequest) {
  const text = [GATEWAY_POD, SERVICE, ...objects].map((one) => stringify(one)).join('---\n');
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  expect(problems).toEqual([]);
  return canIOutside(viewMesh(resources), request).answers.map(({ verdict, by, status, destination }) =>
    [verdict, by, status, destination?.split('.')[0]].filter((one) => one !== undefined).join(' '),
  );
}

describe('routes', () => {
  it.each<[string, object[], OutsideRequest, string]>([
    ['lead to a workload', [to], { port: 80, http: get('/') }, 'yes workload orders'],
    [
      'do not exist for another host',
      [to],
      { port: 80, http: get('/', { authority: 'other.example' }) },
      'no route 404',
    ],
    [
      'ignore a port in the Host header',
      [to],
      { port: 80, http: get('/', { authority: 'shop.example.com:80' }) },
      'yes workload orders',
    ],
    [
      'match in order',
      [{ match: [{ uri: { prefix: '/a' } }], redirect: { uri: '/' } }, to],
      { port: 80, http: get('/a/b') },
      'no route 301',
    ],
    ['answer directly', [{ directResponse: { status: 418 } }], { port: 80, http: get('/') }, 'no route 418'],
    [
      'compare the normalized path',
      [{ match: [{ uri: { exact: '/b' } }], ...to }],
      { port: 80, http: get('/a/../b') },
      'yes workload orders',
    ],
    [
      'may be too complex',
      [{ match: [{ uri: { regex: '/(?i)a' } }], ...to }],
      { port: 80, http: get('/A') },
      'unknown route',
    ],
    [
      'are unknown if a fault aborts some calls',
      [{ fault: { abort: { percentage: { value: 50 }, httpStatus: 503 } }, ...to }],
      { port: 80, http: get('/') },
      'unknown route',
    ],
  ])('%s', (_, http, request, expected) => {
    expect(decide([gateway(HTTP), routes(...http)], request)).toEqual([expected]);
  });

  it('are those of the most specific host, even of another Gateway on the same Pods', () => {
    const wild = object('VirtualService', 'wild', 'shop', { hosts: ['*'], gateways: ['ingress/other'], http: [to] });
    const other = object('Gateway', 'other', 'ingress', {
      selector: { app: 'gateway' },
      servers: [{ ...HTTP, port: { ...HTTP.port, name: 'http-other' } }],
    });
    const objects = [gateway(HTTP), other, wild, routes({ match: [{ uri: { prefix: '/orders' } }], ...to })];
    expect(decide(objects, { port: 80, http: get('/admin') })).toEqual(['no route 404']);
    expect(decide(objects, { port: 80, http: get('/admin', { authority: 'x.example' }) })).toEqual([
      'yes workload orders',
    ]);
  });

  it('redirect to HTTPS', () => {
    const server = { ...HTTP, tls: { httpsRedirect: true } };
    expect(decide([gateway(server), routes(to)], { port: 80, http: get('/') })).toEqual(['no route 301']);
  });
});

describe('TLS', () => {
  const trusted = { trusted: true, principal: 'cluster.local/ns/shop/sa/client' };
  it.each<[string, object, OutsideRequest['tls'], string]>([
    ['is required at its port', https('SIMPLE'), undefined, 'no tls'],
    [
      'passes with a known SNI',
      https('SIMPLE', 'shop.example.com'),
      { sni: 'shop.example.com' },
      'yes workload orders',
    ],
    ['ends without a server for the SNI', https('SIMPLE', 'shop.example.com'), { sni: 'x.example' }, 'no tls'],
    ['requires a certificate', https('MUTUAL'), { sni: 'a' }, 'no tls'],
    ['requires a certificate that it trusts', https('MUTUAL'), { sni: 'a', certificate: { trusted: false } }, 'no tls'],
    ['passes with a certificate', https('MUTUAL'), { sni: 'a', certificate: trusted }, 'yes workload orders'],
    ['may pass without a certificate', https('OPTIONAL_MUTUAL'), { sni: 'a' }, 'yes workload orders'],
    [
      'rejects an optional certificate that it does not trust',
      https('OPTIONAL_MUTUAL'),
      { sni: 'a', certificate: { trusted: false } },
      'no tls',
    ],
    ['is unknown in another mode', https('AUTO_PASSTHROUGH'), { sni: 'a' }, 'unknown tls'],
  ])('%s', (_, server, tls, expected) => {
    expect(decide([gateway(server), routes(to)], { port: 443, http: get('/'), ...(tls && { tls }) })).toEqual([
      expected,
    ]);
  });
});

describe('policies', () => {
  const denied = (path: string) => ({ action: 'DENY', rules: [{ to: [{ operation: { paths: [path] } }] }] });
  const rewriting = { match: [{ uri: { prefix: '/public' } }], rewrite: { uri: '/admin' }, ...to };
  it.each<[string, object[], OutsideRequest, string]>([
    [
      'at the gateway come before routes',
      [policy('ingress', 'gateway', denied('/x'))],
      { port: 80, http: get('/x') },
      'no gateway 403',
    ],
    [
      'at the workload see the rewritten path',
      [policy('shop', 'orders', denied('/admin/x'))],
      { port: 80, http: get('/public/x') },
      'no workload 403 orders',
    ],
    [
      'at the workload do not see the original path',
      [policy('shop', 'orders', denied('/public/x'))],
      { port: 80, http: get('/public/x') },
      'yes workload orders',
    ],
    [
      'at the workload see the identity of the gateway',
      [
        policy('shop', 'orders', {
          rules: [{ from: [{ source: { principals: ['cluster.local/ns/ingress/sa/gateway'] } }] }],
        }),
      ],
      { port: 80, http: get('/public') },
      'yes workload orders',
    ],
    [
      'at the workload see the server name that the gateway sends',
      [
        policy('shop', 'orders', {
          rules: [{ when: [{ key: 'connection.sni', values: ['outbound_.80_._.orders.shop.svc.cluster.local'] }] }],
        }),
      ],
      { port: 80, http: get('/public') },
      'yes workload orders',
    ],
    [
      'at the workload may test an address that is not known',
      [policy('shop', 'orders', { rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/8'] } }] }] })],
      { port: 80, http: get('/public') },
      'unknown workload orders',
    ],
  ])('%s', (_, policies, request, expected) => {
    expect(decide([gateway(HTTP), routes(rewriting), ...policies], request)).toEqual([expected]);
  });

  it('at the gateway see the address that a trusted proxy adds', () => {
    const listed = policy('ingress', 'gateway', { rules: [{ from: [{ source: { remoteIpBlocks: ['192.0.2.7'] } }] }] });
    const config = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'istio', namespace: 'istio-system' },
      data: { mesh: 'defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}' },
    };
    const request: OutsideRequest = {
      port: 80,
      sourceIp: '10.0.0.1',
      http: get('/', { headers: { 'x-forwarded-for': '203.0.113.9, 192.0.2.7' } }),
    };
    const objects = [gateway(HTTP), routes(to), listed];
    expect(decide(objects, request)).toEqual(['no gateway 403']);
    expect(decide([...objects, config], request)).toEqual(['yes workload orders']);
  });

  it('are unknown if an EnvoyFilter changes the gateway', () => {
    const filter = object(
      'EnvoyFilter',
      'lua',
      'ingress',
      { configPatches: [{ applyTo: 'HTTP_FILTER', match: { context: 'GATEWAY' } }] },
      'networking.istio.io/v1alpha3',
    );
    expect(decide([gateway(HTTP), routes(to), filter], { port: 80, http: get('/') })).toEqual(['unknown gateway']);
  });
});

it('refuses a call to a port at which no gateway listens', () => {
  expect(decide([gateway(HTTP), routes(to)], { port: 8443, http: get('/') })).toEqual(['no listener']);
});

describe('a DestinationRule', () => {
  const rule = (name: string, namespace: string, spec: object) => object('DestinationRule', name, namespace, spec);
  const withTls = (host: string, tls: object) => ({ host, trafficPolicy: { tls } });
  const whole = rule('mutual', 'istio-system', withTls('*.local', { mode: 'ISTIO_MUTUAL' }));
  const onlyGateway = policy('shop', 'orders', {
    rules: [{ from: [{ source: { principals: ['cluster.local/ns/ingress/sa/gateway'] } }] }],
  });
  const decided = (...more: object[]) =>
    decide([gateway(HTTP), routes(to), onlyGateway, ...more], { port: 80, http: get('/') });

  it('with mutual TLS for the whole mesh leaves a call decided', () => {
    expect(decided(whole)).toEqual(['yes workload orders']);
  });

  it.each<[string, object]>([
    ['disables mutual TLS', withTls('orders', { mode: 'DISABLE' })],
    ['has no mode', withTls('orders', {})],
    ['changes the SNI', withTls('orders', { mode: 'ISTIO_MUTUAL', sni: 'other' })],
  ])('that %s makes it unknown', (_, spec) => {
    expect(decided(whole, rule('orders', 'shop', spec))).toEqual(['unknown workload orders']);
  });

  it('of another namespace or port does not', () => {
    const host = 'orders.shop.svc.cluster.local';
    const ofPort = { host, trafficPolicy: { portLevelSettings: [{ port: { number: 81 }, tls: { mode: 'DISABLE' } }] } };
    expect(decided(rule('orders', 'dev', withTls(host, { mode: 'DISABLE' })))).toEqual(['yes workload orders']);
    expect(decided(rule('orders', 'shop', ofPort))).toEqual(['yes workload orders']);
  });

  it('that requires mutual TLS of a port without it makes it unknown', () => {
    const off = object(
      'PeerAuthentication',
      'plain',
      'shop',
      { selector: { matchLabels: { app: 'orders' } }, mtls: { mode: 'DISABLE' } },
      'security.istio.io/v1',
    );
    expect(decided(off)).toEqual(['no workload 403 orders']);
    expect(decided(off, whole)).toEqual(['unknown workload orders']);
  });
});
