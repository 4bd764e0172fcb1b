/** Routes of the Gateway API and Ingresses, as matches of hosts and paths. */
import { loadManifests } from '@meshpass/istio';
import { expect, test } from 'vitest';
import { listExposures } from '../../src/exposure.ts';

function list(...documents: readonly string[]) {
  const { resources, problems } = loadManifests(documents.join('\n---\n'), 'mesh.yaml');
  expect(problems).toEqual([]);
  return listExposures(resources);
}

const gateway = (listener: string) =>
  `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: shop},
  spec: {gatewayClassName: istio, listeners: [{name: a, port: 80, ${listener}}]}}`;
const route = (kind: string, spec: string) =>
  `{apiVersion: gateway.networking.k8s.io/v1, kind: ${kind}, metadata: {name: orders, namespace: shop},
  spec: {parentRefs: [{name: public}], ${spec}}}`;
const BACKEND = 'backendRefs: [{name: orders, port: 80}]';
const ingress = (path: string) =>
  `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: orders, namespace: shop}, spec: {ingressClassName: nginx,
  rules: [{host: a.example.com, http: {paths: [{${path}, backend: {service: {name: orders, port: {number: 80}}}}]}}]}}`;

test.each([
  ['path: {value: /a}', ['/a', '/a/*']],
  ['path: {type: PathPrefix, value: /a/}', ['/a', '/a/*']],
  ['path: {type: PathPrefix, value: /}', []],
  ['path: {type: Exact, value: /a}', ['/a']],
  ['path: {type: RegularExpression, value: "/a.*"}', ['~/a.*']],
])('an HTTPRoute with %s matches %j', (match, paths) => {
  const [one] = list(gateway('protocol: HTTP'), route('HTTPRoute', `rules: [{matches: [{${match}}], ${BACKEND}}]`));
  expect(one!.calls.map(({ path }) => path)).toEqual(paths);
});

test.each([
  ['service: shop.Orders, method: List', '/shop.Orders/List'],
  ['service: shop.Orders', '/shop.Orders/*'],
  ['method: List', '~/[^/]+/List'],
  ['type: RegularExpression, service: "shop.*", method: List', '~/shop.*/List'],
])('a GRPCRoute with {%s} matches POST requests to %s', (method, path) => {
  const spec = `rules: [{matches: [{method: {${method}}}], ${BACKEND}}]`;
  const [one] = list(gateway('protocol: HTTPS'), route('GRPCRoute', spec));
  expect(one!.calls).toEqual([{ method: 'POST', path }]);
});

test.each([
  ['path: /a, pathType: Prefix', ['/a', '/a/*']],
  ['path: /a, pathType: Exact', ['/a']],
  ['path: /, pathType: Prefix', []],
  ['path: /a, pathType: ImplementationSpecific', ['/a*']],
  ['path: "/a/(.*)", pathType: ImplementationSpecific', ['~/a/(.*)']],
])('an Ingress with {%s} matches %j', (path, paths) => {
  const [one] = list(ingress(path));
  expect(one!.calls.map((call) => call.path)).toEqual(paths);
});

test.each([
  ['protocol: HTTP, hostname: "*.example.com"', '[a.example.com, a.example.org]', ['a.example.com']],
  ['protocol: HTTP, hostname: a.example.com', '["*.example.com"]', ['a.example.com']],
  ['protocol: HTTP', '["*.example.com"]', ['*.example.com']],
  ['protocol: HTTP, hostname: b.example.com', '[]', ['b.example.com']],
  ['protocol: HTTP', '[]', ['*']],
  ['protocol: HTTP, hostname: b.example.com', '[a.example.com]', undefined],
])('a listener with {%s} and a route with the hosts %s have %j in common', (listener, hostnames, hosts) => {
  const spec = `hostnames: ${hostnames}, rules: [{${BACKEND}}]`;
  const [one] = list(gateway(listener), route('HTTPRoute', spec));
  expect(one?.hosts).toEqual(hosts);
});

test.each([
  ['HTTPRoute', 'HTTP', 1],
  ['HTTPRoute', 'TLS', 0],
  ['GRPCRoute', 'HTTPS', 1],
  ['TLSRoute', 'TLS', 1],
  ['TLSRoute', 'HTTPS', 0],
  ['TCPRoute', 'TCP', 1],
  ['TCPRoute', 'HTTP', 0],
])('a %s attaches to a listener for %s: %d', (kind, protocol, count) => {
  expect(list(gateway(`protocol: ${protocol}`), route(kind, `rules: [{${BACKEND}}]`))).toHaveLength(count);
});

test('a backend with weight 0 is not reached', () => {
  const rule = 'backendRefs: [{name: orders, port: 80, weight: 0}, {name: next, port: 80}]';
  const found = list(gateway('protocol: HTTP'), route('HTTPRoute', `rules: [{${rule}}]`));
  expect(found.map(({ destination }) => destination.host)).toEqual(['next.shop.svc.cluster.local']);
});

test('two Gateways with the same hosts are entry points of one route', () => {
  const other = gateway('protocol: HTTP').replace('name: public', 'name: other');
  const both = route('HTTPRoute', `rules: [{${BACKEND}}]`).replace(
    '[{name: public}]',
    '[{name: public}, {name: other}]',
  );
  expect(list(gateway('protocol: HTTP'), other, both).map(({ entry }) => entry.name)).toEqual([
    'shop/other',
    'shop/public',
  ]);
});

test.each([
  ['uri: {regex: "/a.*"}', 'closed'],
  ['uri: {exact: /a}', 'closed'],
  ['uri: {prefix: /a}', 'open'],
])('a workload sees the path that the route rewrites, for a match with %s', (match, verdict) => {
  const found = list(
    `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: shop},
      spec: {selector: {app: gateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}`,
    `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: orders, namespace: shop},
      spec: {hosts: [a.example.com], gateways: [public], http: [{match: [{${match}}], rewrite: {uri: /v1},
        route: [{destination: {host: orders, port: {number: 80}}}]}]}}`,
    `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
      spec: {selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {paths: [/v1]}}]}]}}`,
    `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
      spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`,
  );
  expect(found.map((one) => one.verdict)).toEqual([verdict]);
});

const istioGateway = (servers: string) =>
  `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: shop},
    spec: {selector: {app: gateway}, servers: [${servers}]}}`;
const virtualService = (name: string, http: string) =>
  `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: ${name}, namespace: shop},
    spec: {hosts: [a.example.com], gateways: [public], http: [{${http}, route: [{destination: {host: ${name}}}]}]}}`;
const SERVER = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}";

test('a server that redirects a host redirects the calls of every server at its port', () => {
  const redirect =
    "{port: {number: 80, name: other, protocol: HTTP}, hosts: ['*.example.com'], tls: {httpsRedirect: true}}";
  const route = virtualService('orders', 'match: [{uri: {prefix: /a}}]');
  expect(list(istioGateway(SERVER), route)).toHaveLength(1);
  expect(list(istioGateway(`${SERVER}, ${redirect}`), route)).toEqual([]);
});

test('a match for every call ends the matches of a route, so that another VirtualService takes its calls', () => {
  const first = virtualService('ledger', 'match: [{uri: {prefix: /}}]');
  const found = (match: string) =>
    list(istioGateway(SERVER), first, virtualService('orders', match)).map(({ object }) => object.name);
  expect(found('match: [{uri: {exact: /a}}, {}]')).toEqual(['ledger', 'orders']);
  expect(found('match: [{}, {uri: {exact: /a}}]')).toEqual(['ledger']);
});

test.each([
  ['uri: {regex: "/[a-c]"}', 'closed'],
  ['uri: {regex: "/[a-c]"}, ignoreUriCase: true', 'closed'],
  ['authority: {exact: b.example.com}', 'closed'],
  ['uri: {regex: "/.*"}', 'open'],
])('policies are compared with the calls that a match with {%s} takes', (match, verdict) => {
  const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
    spec: {rules: [{to: [{operation: {paths: [/public]}}]}]}}`;
  const found = list(istioGateway(SERVER), virtualService('orders', `match: [{${match}}]`), policy);
  expect(found.map((one) => one.verdict)).toEqual([verdict]);
});
