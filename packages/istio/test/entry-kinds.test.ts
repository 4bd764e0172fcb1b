/** Kinds that decide which calls enter a cluster: Gateway API, Ingress, and the published ports of Services and Pods. */
import { expect, test } from 'vitest';
import { loadManifests, ofKind, selectsByExpressions } from '../src/index.ts';

function load(apiVersion: string, kind: string, spec: string) {
  return loadManifests(`{apiVersion: ${apiVersion}, kind: ${kind}, metadata: {name: a}, spec: ${spec}}`, 'a.yaml');
}

test.each([
  ['gateway.networking.k8s.io/v1', 'HTTPRoute', '{hostnames: [a.example.com], rules: [{backendRefs: [{name: a}]}]}'],
  ['gateway.networking.k8s.io/v1', 'GRPCRoute', '{rules: [{matches: [{method: {service: shop.Orders}}]}]}'],
  ['gateway.networking.k8s.io/v1alpha2', 'TLSRoute', '{rules: [{backendRefs: [{name: a, port: 443}]}]}'],
  ['gateway.networking.k8s.io/v1alpha2', 'TCPRoute', '{parentRefs: [{name: public, sectionName: db}]}'],
  ['gateway.networking.k8s.io/v1beta1', 'ReferenceGrant', '{from: [{group: "", kind: Service, namespace: b}], to: []}'],
  ['gateway.networking.k8s.io/v1', 'BackendTLSPolicy', '{targetRefs: [{group: "", kind: Service, name: a}]}'],
  ['gateway.networking.k8s.io/v1', 'ListenerSet', '{parentRef: {name: public}, listeners: [{name: a, port: 80}]}'],
  ['gateway.networking.x-k8s.io/v1alpha1', 'XListenerSet', '{parentRef: {name: public}}'],
  ['gateway.networking.k8s.io/v1', 'GatewayClass', '{controllerName: istio.io/gateway-controller}'],
  ['gateway.envoyproxy.io/v1alpha1', 'SecurityPolicy', '{targetRefs: [{kind: Gateway, name: public}], oidc: {}}'],
  ['networking.k8s.io/v1', 'Ingress', '{ingressClassName: nginx, defaultBackend: {service: {name: a}}}'],
  ['networking.k8s.io/v1', 'IngressClass', '{controller: k8s.io/ingress-nginx}'],
])('%s %s is read', (apiVersion, kind, spec) => {
  const { resources, others, problems } = load(apiVersion, kind, spec);
  expect(problems).toEqual([]);
  expect(others).toEqual([]);
  expect(resources.map((one) => one.kind)).toEqual([kind]);
});

test.each([
  ['HTTPRoute', '{rules: [{backendRef: []}]}', 'spec.rules.0.backendRef: unknown field'],
  ['ListenerSet', '{listeners: [{hostName: a}]}', 'spec.listeners.0.hostName: unknown field'],
  ['TLSRoute', '{hostname: [a]}', 'spec.hostname: unknown field'],
])('reports a misspelled field of a %s', (kind, spec, expected) => {
  const { problems } = load('gateway.networking.k8s.io/v1', kind, spec);
  expect(problems.map(({ message }) => message).join()).toContain(expected);
});

test('accepts an older Ingress, whose group is not read', () => {
  expect(load('extensions/v1beta1', 'Ingress', '{backend: {serviceName: a}}').others).toHaveLength(1);
});

test('reports a path of an Ingress that is not text', () => {
  const { problems, resources } = load('networking.k8s.io/v1', 'Ingress', '{rules: [{http: {paths: [{path: 1}]}}]}');
  expect(problems.map(({ message }) => message)).toEqual([
    'Ingress a: spec.rules.0.http.paths.0.path: must be a string, but is the number 1',
  ]);
  expect(resources).toEqual([]);
});

test('classes have no namespace', () => {
  const { resources } = load('networking.k8s.io/v1', 'IngressClass', '{controller: istio.io/ingress-controller}');
  expect(resources[0]!.metadata.namespace).toBe('');
});

test('reads the published ports of Services and Pods', () => {
  const service = load(
    'v1',
    'Service',
    '{type: NodePort, externalIPs: [203.0.113.1], ports: [{port: 80, nodePort: 30080}]}',
  );
  expect(ofKind(service.resources, 'Service')[0]!.spec.ports![0]!.nodePort).toBe(30080);
  const pod = load('v1', 'Pod', '{hostNetwork: true, containers: [{ports: [{containerPort: 80, hostPort: 8080}]}]}');
  expect(ofKind(pod.resources, 'Pod')[0]!.spec.containers![0]!.ports![0]!.hostPort).toBe(8080);
  expect(load('v1', 'Service', '{loadBalancerSourceRanges: 10.0.0.0/8}').problems[0]!.message).toContain(
    'must be a list',
  );
});

test.each([
  [{ operator: 'In', values: ['dev'] }, { env: 'dev' }, true],
  [{ operator: 'In', values: ['dev'] }, {}, false],
  [{ operator: 'NotIn', values: ['dev'] }, {}, true],
  [{ operator: 'Exists' }, { env: 'dev' }, true],
  [{ operator: 'DoesNotExist' }, { env: 'dev' }, false],
  [{ operator: 'Gt', values: ['1'] }, { env: '2' }, false],
])('a selector with %j and labels %j: %s', (expression, labels, expected) => {
  const selector = { matchExpressions: [{ key: 'env', ...expression }] };
  expect(selectsByExpressions(selector, labels as Record<string, string>)).toBe(expected);
});
