/** Severities of findings about entry points: an error must be right. */
import { expect, test } from 'vitest';
import { lintFiles } from '../../src/lint/lint.ts';
import { CASES, lintCase, TODAY } from './corpus.ts';

test.each([
  ['MP101-bad-httproute', 'error'],
  ['MP101-bad-httproute-gateway-elsewhere', 'warning'],
  ['MP101-bad-gateway-of-another-controller', 'warning'],
  ['MP101-bad-ingress', 'error'],
  ['MP101-bad-load-balancer', 'warning'],
  ['MP101-bad-load-balancer-permissive', 'error'],
  ['MP101-bad-node-port', 'error'],
  ['MP101-bad-sidecar-listener', 'warning'],
  ['MP107-bad-behind-an-older-one', 'warning'],
  ['MP107-bad-foreign-host', 'error'],
  ['MP205-bad-terminated', 'error'],
  ['MP205-bad-with-a-claim', 'warning'],
  ['MP701-bad-grafana-httproute', 'error'],
  ['MP702-bad-pod-without-proxy', 'warning'],
  ['MP702-bad-node-agent', 'note'],
  ['MP703-bad-virtual-host', 'warning'],
  ['MP703-bad-listener', 'error'],
  ['MP703-bad-route-to-a-test', 'error'],
])('%s is reported as %s', (name, severity) => {
  const one = CASES.find((each) => each.name === `${name}.yaml`)!;
  const { findings } = lintCase(one);
  expect(findings.find(({ code }) => code === one.code)!.severity).toBe(severity);
});

test.each([
  ['MP107-bad-behind-an-older-one', 'VirtualService shop/orders has the same host and comes first'],
  ['MP205-bad-istiod', 'anyone with a certificate of the mesh can obtain new ones'],
  ['MP205-bad-terminated', 'anyone with a ServiceAccount token for istiod can obtain both'],
  ['MP501-bad-every-service', 'calls to them from namespace shop may use this entry'],
])('the findings of %s contain: %s', (name, part) => {
  const one = CASES.find((each) => each.name === `${name}.yaml`)!;
  const found = lintCase(one).findings.filter(({ code }) => code === one.code);
  expect(found.map(({ message }) => message)).toEqual(found.map(() => expect.stringContaining(part)));
});

test('a route with sectionName is open under every host of that listener', () => {
  const { text } = CASES.find(({ name }) => name === 'MP101-bad-httproute-gateway-elsewhere.yaml')!;
  const message = (manifest: string) =>
    lintFiles([{ name: 'a.yaml', text: manifest }], { now: TODAY }).findings.find(({ code }) => code === 'MP101')!
      .message;
  const everyHost = text.replace(/^ *hostnames:.*\n/m, '').replaceAll('orders', 'orders-test');
  expect(message(everyHost)).toContain('every call to every host of the gateway reaches');
  const atListener = everyHost.replace('parentRefs: [{', 'parentRefs: [{sectionName: https, ');
  expect(message(atListener)).toContain('every call to every host of listener https reaches');
});

test('a live cluster shows that nothing requires mutual TLS', () => {
  const { text } = CASES.find(({ name }) => name === 'MP101-bad-load-balancer.yaml')!;
  const { findings } = lintFiles([{ name: 'a.yaml', text }], { now: TODAY, complete: true });
  expect(findings.filter(({ code }) => code === 'MP101').map(({ severity }) => severity)).toEqual(['error']);
});

test('a Service with several ports has one finding', () => {
  const { text } = CASES.find(({ name }) => name === 'MP702-bad-pod-without-proxy.yaml')!;
  const more = text.replace('ports: [', 'ports: [{port: 81, name: http-more, targetPort: 8081}, ');
  const { findings } = lintFiles([{ name: 'a.yaml', text: more }], { now: TODAY });
  expect(findings.map(({ code }) => code)).toEqual(['MP702']);
});

const BEHIND = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: shop}, hosts: ["*.example.com"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [istio-ingress/public]
  http: [{route: [{destination: {host: orders.test.example.net}}]}]
---
`;
const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: istio-ingress}
spec: {selector: {istio: ingressgateway}, ports: [{name: https, port: 443}]}
---
`;
const ENTRY = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: orders, namespace: shop}
spec: {hosts: [orders.test.example.net], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
`;
const INGRESS = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress, namespace: istio-ingress}
spec: {ingressClassName: alb, defaultBackend: {service: {name: ingress, port: {number: 443}}}}
`;
const severitiesOf = (text: string) =>
  lintFiles([{ name: 'a.yaml', text }], { now: TODAY })
    .findings.filter(({ code }) => code === 'MP101')
    .map(({ severity }) => severity);

test('a gateway whose only Service is of type ClusterIP may be published by something else', () => {
  expect(severitiesOf(BEHIND + ENTRY)).toEqual(['error']);
  expect(severitiesOf(BEHIND + ENTRY + SERVICE)).toEqual(['warning']);
  expect(severitiesOf(BEHIND + ENTRY + SERVICE + INGRESS)).toEqual(['error']);
  expect(severitiesOf(BEHIND + ENTRY + SERVICE.replace('spec: {', 'spec: {type: NodePort, '))).toEqual(['error']);
});

test('a Service of another namespace does not lead to the Pods of a gateway', () => {
  const other = SERVICE.replace('namespace: istio-ingress', 'namespace: other');
  const internal = other.replace(
    'name: ingress,',
    'name: ingress, annotations: {networking.gke.io/load-balancer-type: Internal},',
  );
  expect(severitiesOf(BEHIND + ENTRY + other)).toEqual(['error']);
  expect(severitiesOf(BEHIND + ENTRY + internal.replace('spec: {', 'spec: {type: LoadBalancer, '))).toEqual(['error']);
});

test('workloads of the mesh on machines may require an identity', () => {
  expect(severitiesOf(BEHIND + ENTRY.replace('spec: {', 'spec: {location: MESH_INTERNAL, '))).toEqual(['warning']);
});

test('a destination that no ServiceEntry defines is none', () => {
  expect(severitiesOf(BEHIND)).toEqual([]);
});

test('of several ways to a destination, the most severe is reported', () => {
  const gateway = (name: string, className: string) => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ${name}, namespace: shop-staging}
spec: {gatewayClassName: ${className}, listeners: [{name: http, port: 80, protocol: HTTP, hostname: ${name}.example.com}]}
---`;
  const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders, namespace: shop-staging}
spec: {parentRefs: [{name: a}, {name: b}], rules: [{backendRefs: [{name: orders, port: 80}]}]}
`;
  expect(severitiesOf(gateway('a', 'acme') + gateway('b', 'istio') + route)).toEqual(['error']);
  expect(severitiesOf(gateway('a', 'istio') + gateway('b', 'acme') + route)).toEqual(['error']);
});
