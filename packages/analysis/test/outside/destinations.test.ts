import { loadManifests } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { compareOutside, type OutsideComparison } from '../../src/outside/compare.ts';
import { formatWitness } from '../../src/outside/describe.ts';

const GATEWAY = `
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: istio-ingress}, spec: {
  selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}`;
const SERVICES = ['orders', 'admin']
  .map(
    (name) => `
---
{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: shop}, spec: {selector: {app: ${name}}, ports: [{port: 80, name: http}]}}`,
  )
  .join('');
const route = (host: string, more = '') => `${GATEWAY}${SERVICES}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop, namespace: shop}, spec: {
  hosts: [shop.example.com], gateways: [istio-ingress/public], ${more} http: [{route: [{destination: {host: ${host}, port: {number: 80}}}]}]}}`;
const service = (name: string, namespace: string, spec: string) => `
---
{apiVersion: v1, kind: Service, metadata: {name: ${name}, namespace: ${namespace}}, spec: {${spec}}}`;
const gatewayPod = (namespace: string) => `
---
{apiVersion: v1, kind: Pod, metadata: {name: gw, namespace: ${namespace}, labels: {istio: ingressgateway}}, spec: {containers: [{name: istio-proxy}]}}`;

function compared(before: string, after: string): OutsideComparison {
  const [was, is] = [loadManifests(before, 'before.yaml').resources, loadManifests(after, 'after.yaml').resources];
  return compareOutside(was, is, { rootNamespace: 'istio-system' });
}

const changesOf = ({ changes }: OutsideComparison) =>
  changes.map(({ kind, destination, witness }) => `${kind} ${destination} ${formatWitness(witness)}`);

it('follows a Service of type ExternalName to the Service that it stands for', () => {
  const alias = (target: string) =>
    route('alias') + service('alias', 'shop', `type: ExternalName, externalName: ${target}`);
  const comparison = compared(alias('orders.shop.svc.cluster.local'), alias('admin.shop.svc.cluster.local'));
  expect(changesOf(comparison)).toEqual([
    'gains admin.shop.svc.cluster.local:80 GET http://shop.example.com/',
    'loses orders.shop.svc.cluster.local:80 GET http://shop.example.com/',
  ]);
  expect(changesOf(compared(alias('orders.shop.svc.cluster.local'), route('orders')))).toEqual([]);
  expect(changesOf(compared(alias('a.example.net'), alias('b.example.net')))).toHaveLength(2);
});

it('does not serve a VirtualService that is not exported to the Pods of the gateway', () => {
  const own = route('orders', "exportTo: ['.'],");
  const gained = ['gains orders.shop.svc.cluster.local:80 GET http://shop.example.com/'];
  const pod = gatewayPod('istio-ingress');
  expect(changesOf(compared(own + pod, route('orders') + pod))).toEqual(gained);
  expect(changesOf(compared(own + gatewayPod('shop'), route('orders') + gatewayPod('shop')))).toEqual([]);
  const listed = route('orders', 'exportTo: [istio-ingress],');
  expect(compared(listed + pod, route('orders') + pod)).toMatchObject({ changes: [], unknown: [] });
});

it('does not know whether it serves one if the Pods of the gateway are not known', () => {
  const { changes, unknown } = compared(route('orders', "exportTo: ['.'],"), route('orders'));
  expect(changes).toEqual([]);
  expect(unknown).toMatchObject([
    { reasons: [expect.stringContaining('VirtualService shop/shop is exported to some')] },
  ]);
});

it('reaches a host outside the cluster if the Pods of the gateway get its ServiceEntry', () => {
  const entry = `
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: vm, namespace: shop}, spec: {
  hosts: [vm.example.net], exportTo: ['.'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}`;
  const opened = (pods: string) => compared(entry + pods, route('vm.example.net') + entry + pods);
  expect(changesOf(opened(gatewayPod('shop')))).toEqual(['gains vm.example.net:80 GET http://shop.example.com/']);
  expect(opened(gatewayPod('istio-ingress'))).toMatchObject({ changes: [], unknown: [] });
  expect(opened('').unknown).toMatchObject([
    { reasons: [expect.stringContaining('ServiceEntry shop/vm is exported')] },
  ]);
});

it('does not know what a gateway that nothing publishes gains by a load balancer', () => {
  const inside =
    route('orders') + service('gw', 'istio-ingress', 'selector: {istio: ingressgateway}, ports: [{port: 80}]');
  const outside = inside.replace(
    'spec: {selector: {istio: ingressgateway}, ports',
    'spec: {type: LoadBalancer, selector: {istio: ingressgateway}, ports',
  );
  expect(outside).not.toBe(inside);
  expect(compared(inside, outside).unknown).toMatchObject([
    { reasons: ['nothing among the files publishes the gateway'] },
  ]);
  expect(compared(inside, inside)).toMatchObject({ changes: [], unknown: [] });
});

it('compares published UDP ports', () => {
  const udp = service(
    'voice',
    'shop',
    'type: LoadBalancer, selector: {app: voice}, ports: [{port: 443, protocol: UDP}]',
  );
  expect(changesOf(compared(SERVICES, SERVICES + udp))).toEqual([
    'gains voice.shop.svc.cluster.local:443 CONNECT udp://HOST:443',
  ]);
});

it('reads only the first of several headers with one name in a match of an HTTPRoute', () => {
  const headers = (list: string) => `${SERVICES}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: shop}, spec: {
  gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: shop, namespace: shop}, spec: {
  parentRefs: [{name: public}], rules: [{matches: [{headers: [${list}]}], backendRefs: [{name: orders, port: 80}]}]}}`;
  const both = headers('{name: x-team, value: a}, {name: X-Team, value: b}');
  expect(compared(both, headers('{name: x-team, value: a}'))).toMatchObject({ changes: [], unknown: [] });
  expect(changesOf(compared(both, headers('{name: x-team, value: b}')))).toHaveLength(2);
});

it('says that other Pods or ports answer at a destination', () => {
  const subset = (value: string) => `${route('orders, subset: v1')}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: orders, namespace: shop}, spec: {
  host: orders, subsets: [{name: v1, labels: {version: ${value}}}]}}`;
  const moved = (before: string, after: string) => {
    const comparison = compared(before, after);
    expect(comparison.changes).toEqual([]);
    return comparison.moved.flatMap(({ changes }) => changes);
  };
  expect(moved(subset('stable'), subset('staging'))).toEqual([
    'labels of subset v1 version=staging, previously version=stable',
  ]);
  const orders = route('orders');
  expect(moved(orders, orders.replace('selector: {app: orders}', 'selector: {app: admin}'))).toEqual([
    'selector app=admin, previously app=orders',
  ]);
  const port = 'app: orders}, ports: [{port: 80, name: http}';
  expect(moved(orders, orders.replace(port, port.replace('name', 'targetPort: 15000, name')))).toEqual([
    'target port 15000, previously 80',
  ]);
  expect(moved(orders, orders)).toEqual([]);
});

it('does not know what changes if a DestinationRule replaces the mutual TLS of the gateway', () => {
  const policy = (rules: string) => `
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: gateway, namespace: shop}, spec: {
  selector: {matchLabels: {app: orders}}, rules: [${rules}]}}`;
  const from = (namespace: string) => policy(`{from: [{source: {namespaces: [${namespace}]}}]}`);
  const rule = (mode: string) => `
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: all, namespace: istio-system}, spec: {
  host: '*.local', trafficPolicy: {tls: {mode: ${mode}}}}}`;
  const opened = (mode: string, after: string) =>
    compared(route('orders') + from('dev') + rule(mode), route('orders') + after + rule(mode));
  const gained = ['gains orders.shop.svc.cluster.local:80 GET http://shop.example.com/'];
  expect(changesOf(opened('ISTIO_MUTUAL', from('istio-ingress')))).toEqual(gained);
  expect(changesOf(opened('DISABLE', policy('{}')))).toEqual(gained);
  const { changes, unknown } = opened('DISABLE', from('istio-ingress'));
  expect(changes).toEqual([]);
  expect(unknown).toMatchObject([
    { reasons: [expect.stringContaining('DestinationRule istio-system/all sets the TLS')] },
  ]);
});

it('compares the whole Host header with the hosts of a policy', () => {
  const denied = (hosts: string) => `${route('orders')}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: hosts, namespace: istio-ingress}, spec: {
  selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{to: [{operation: {hosts: [${hosts}]}}]}]}}`;
  const [name, both] = [denied('shop.example.com'), denied("shop.example.com, 'shop.example.com:*'")];
  const [change] = compared(name, both).changes;
  expect(change).toMatchObject({
    kind: 'loses',
    what: 'every call of shop.example.com at http:80, with a port in the Host header',
    witness: { url: 'http://shop.example.com/', headers: { host: 'shop.example.com:80' } },
  });
  expect(compared(route('orders'), name).changes).toMatchObject([
    { kind: 'loses', what: 'every call of shop.example.com at http:80, without a port in the Host header' },
  ]);
  expect(compared(both, denied("'shop.*'"))).toMatchObject({ changes: [], unknown: [] });
  expect(compared(name, denied("shop.example.com, 'shop.example.com:8443'")).unknown).toMatchObject([
    { reasons: ['a policy tests the port 8443 in the Host header'] },
  ]);
});
