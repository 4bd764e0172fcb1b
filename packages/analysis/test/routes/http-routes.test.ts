/** Reading of routes that exposure, diff, plan and lint share. */
import { type HttpMatch, loadManifests, type VirtualService, viewMesh } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { listExposures } from '../../src/exposure.ts';
import { compareOutside } from '../../src/outside/compare.ts';
import { isCatchAll, isRestrictedToSources } from '../../src/routes/http-routes.ts';
import { possibleDestinations } from '../../src/routes/outside-grant.ts';

test.each<readonly [boolean, HttpMatch]>([
  [true, {}],
  [true, { uri: {} }],
  [true, { uri: { prefix: '/' } }],
  [true, { uri: { regex: '.*' } }],
  [true, { uri: { prefix: '/' }, ignoreUriCase: true, headers: {}, name: 'all', port: 80, gateways: ['mesh'] }],
  [false, { uri: { prefix: '' } }],
  [false, { uri: { exact: '/' } }],
  [false, { uri: { prefix: '/orders' } }],
  [false, { uri: { regex: '/.*' } }],
  // istiod translates each of them to a test of a header or parameter.
  [false, { method: {} }],
  [false, { authority: { exact: 'shop.example.com' } }],
  [false, { headers: { 'x-canary': {} } }],
  [false, { withoutHeaders: { 'x-canary': {} } }],
  [false, { queryParams: { canary: { exact: '1' } } }],
])('it is %s that %j takes every call', (expected, match) => {
  expect(isCatchAll(match)).toBe(expected);
});

test.each<readonly [boolean, HttpMatch]>([
  [false, { sourceLabels: {} }],
  [true, { sourceLabels: { app: 'web' } }],
  [true, { sourceNamespace: 'dev' }],
  [false, { sourceNamespace: 'dev', gateways: ['mesh'] }],
])('it is %s that %j is for some proxies only', (expected, match) => {
  expect(isRestrictedToSources(match)).toBe(expected);
});

const BASE = `
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: shop}, spec: {
  selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: public, namespace: shop}, spec: {
  type: LoadBalancer, selector: {istio: ingressgateway}, ports: [{port: 80}]}}`;
const service = (name: string) => `
---
{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop}, spec: {selector: {app: ${name}}, ports: [{port: 80}]}}`;
const routes = (name: string, spec: string, namespace = 'shop') => `
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: ${name}, namespace: ${namespace}}, spec: ${spec}}`;
const to = (host: string) => `route: [{destination: {host: ${host}, port: {number: 80}}}]`;

/** Destinations at the gateway, for exposure and for diff, and for sidecars of a grant. */
function destinations(root: string, delegate: string, namespace = 'shop') {
  const given = BASE + service('orders') + service('ledger');
  const text =
    given +
    routes('root', `{hosts: [orders], gateways: [public, mesh], http: [${root}]}`) +
    routes('part', delegate, namespace);
  const [before, after] = [given, text].map((one) => loadManifests(one, 'mesh.yaml').resources);
  const mesh = viewMesh(after!);
  const found = mesh.all('VirtualService').find(({ metadata }) => metadata.name === 'root') as VirtualService;
  const called = { from: 'dev', host: 'orders.shop.svc.cluster.local', port: 80, protocol: 'http' } as const;
  const { changes, unknown } = compareOutside(before!, after!, { rootNamespace: 'istio-system' });
  expect(unknown).toEqual([]);
  const short = (host: string) => host.replace(/\..*/, '');
  const ways = listExposures(after!).filter(({ entry }) => entry.kind === 'Gateway');
  return {
    exposure: [...new Set(ways.map(({ destination }) => short(destination.host)))].toSorted(),
    outside: [...new Set(changes.map(({ destination }) => short(destination)))],
    sidecars: [...new Set(possibleDestinations(found, called, mesh).map(({ host }) => short(host)))],
  };
}

function everywhere(...hosts: readonly string[]) {
  return { exposure: hosts.toSorted(), outside: hosts.toSorted(), sidecars: hosts };
}

describe('a delegate', () => {
  const delegation = (match: string) => `{${match}delegate: {name: part}}, {${to('orders')}}`;
  const prefix = (path: string) => `match: [{uri: {prefix: ${path}}}], `;

  test.each([
    ['is limited to the match of the root', prefix('/pay'), `{http: [{${to('ledger')}}]}`, ['ledger', 'orders']],
    [
      'adds a narrower match',
      prefix('/pay'),
      `{http: [{${prefix('/pay/card')}${to('ledger')}}]}`,
      ['ledger', 'orders'],
    ],
    [
      'serves nothing by a match that conflicts',
      prefix('/pay'),
      `{http: [{${prefix('/')}${to('ledger')}}]}`,
      ['orders'],
    ],
    ['ends the routes if it takes every call', '', `{http: [{${prefix('/')}${to('ledger')}}]}`, ['ledger']],
    ['serves nothing if it has hosts', '', `{hosts: [ledger], http: [{${to('ledger')}}]}`, ['orders']],
  ])('%s, for exposure, diff and sidecars', (_what, match, delegate, expected) => {
    expect(destinations(delegation(match), delegate)).toEqual(everywhere(...expected));
  });

  it('of another namespace serves nothing unless it is exported to the root', () => {
    const root = `{delegate: {name: part, namespace: pay}}, {${to('orders')}}`;
    const delegate = (exported: string) => `{${exported} http: [{${to('ledger.shop.svc.cluster.local')}}]}`;
    expect(destinations(root, delegate("exportTo: ['.'],"), 'pay')).toEqual(everywhere('orders'));
    expect(destinations(root, delegate('exportTo: [shop],'), 'pay')).toEqual(everywhere('ledger'));
  });

  it('inherits the mirrors of the root, whose namespace completes their hosts', () => {
    const text =
      routes('root', '{hosts: [orders], http: [{mirror: {host: copy}, delegate: {name: part, namespace: pay}}]}') +
      routes('part', `{http: [{${to('orders.shop.svc.cluster.local')}}]}`, 'pay');
    const mesh = viewMesh(loadManifests(text, 'mesh.yaml').resources);
    const root = mesh.all('VirtualService').find(({ metadata }) => metadata.name === 'root');
    const called = { from: 'dev', host: 'orders.shop.svc.cluster.local', port: 80, protocol: 'http' } as const;
    expect(possibleDestinations(root!, called, mesh)).toMatchObject([
      { host: 'orders.shop.svc.cluster.local', mirrored: false, on: { metadata: { namespace: 'pay' } } },
      {
        host: 'copy',
        mirrored: true,
        on: { metadata: { namespace: 'shop' } },
        path: ['spec', 'http', 0, 'mirror', 'host'],
      },
    ]);
  });
});
