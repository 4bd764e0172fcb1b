import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compareOutside } from '../../src/outside/compare.ts';

const OPTIONS = { rootNamespace: 'istio-system' };

function route(path: string): string {
  return `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: orders, namespace: shop}, spec: {
  hosts: [shop.example.com], gateways: [public], http: [{match: [{uri: ${path}}], route: [{destination: {host: orders, port: {number: 80}}}]}]}}`;
}

function ingress(annotations: string): string {
  return `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: orders, namespace: shop, annotations: {${annotations}}}, spec: {
  ingressClassName: nginx, rules: [{host: shop.example.com, http: {paths: [
    {path: /, pathType: Prefix, backend: {service: {name: orders, port: {number: 80}}}}]}}]}}`;
}

function compared(before: string, after: string, unread?: string) {
  const [was, is] = [loadManifests(before, 'before.yaml').resources, loadManifests(after, 'after.yaml').resources];
  return compareOutside(was, is, { ...OPTIONS, ...(unread !== undefined && { unread }) });
}

it('compares expressions that automata cannot read only with themselves', () => {
  const [one, other] = ["{regex: '/(ab)*/x'}", "{regex: '/(ab)*/y'}"];
  expect(compared(route(one), route(one))).toMatchObject({ changes: [], unknown: [] });
  expect(compared(route(one), route(other))).toMatchObject({
    changes: [],
    unknown: [{ reasons: ['path matches ~/(ab)*/x', 'path matches ~/(ab)*/y'] }],
  });
});

it('still finds a change that exists whatever such an expression means', () => {
  const both = route("{regex: '/(ab)*/x'}").replace(
    'http: [',
    "http: [{match: [{uri: {exact: '/y'}}], redirect: {}}, ",
  );
  const { changes } = compared(route("{prefix: '/'}"), both);
  expect(changes).toMatchObject([{ kind: 'loses', witness: { url: 'http://shop.example.com/y' } }]);
});

it('does not know which calls an annotated Ingress gets', () => {
  const alias = ingress("nginx.ingress.kubernetes.io/server-alias: 'a.example.com'");
  expect(compared(alias, alias)).toMatchObject({ changes: [], unknown: [] });
  expect(compared(alias, ingress(''))).toMatchObject({ changes: [], unknown: [{ reasons: [expect.any(String)] }] });
});

it.each([
  ['k8s.io/ingress-nginx', ['gains', 'loses']],
  ['nginx.org/ingress-controller', []],
])('reads annotations of ingress-nginx according to the controller %s of the class', (controller, kinds) => {
  const served = (annotations: string) =>
    `${ingress(annotations)}\n---\n{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: ${controller}}}`;
  const { changes, unknown } = compared(served(''), served("nginx.ingress.kubernetes.io/force-ssl-redirect: 'true'"));
  expect(changes.map(({ kind }) => kind)).toEqual(kinds);
  expect(unknown).toEqual([]);
});

it('does not compare a Gateway that it has not read with one that it has', () => {
  const gateway = `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: shop}, spec: {
  selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}`;
  const { changes, unknown } = compared(route("{prefix: '/'}"), `${route("{prefix: '/'}")}\n---\n${gateway}`);
  expect(changes).toEqual([]);
  expect(unknown).toHaveLength(1);
});

it('compares connections with TLS at a Gateway that it has not read', () => {
  const passed = route('{}')
    .replace('http: [', 'tls: [')
    .replace('{uri: {}}', '{port: 443, sniHosts: [shop.example.com]}');
  expect(compared('', passed).changes).toMatchObject([{ kind: 'gains', witness: { url: 'tcp://shop.example.com' } }]);
});

it('knows nothing if a file was not read', () => {
  const same = route("{prefix: '/'}");
  expect(compared(same, same, 'a file was skipped').unknown).toMatchObject([{ reasons: ['a file was skipped'] }]);
});

it.each([
  ['konghq.com/plugins', 'kong'],
  ['nginx.org/policies', 'nginx'],
])('does not compare checks that the annotation %s names', (name, className) => {
  const controller = `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: nginx.org/ingress-controller}}`;
  const checked = (value: string) =>
    `${ingress(`${name}: ${value}`).replace('ingressClassName: nginx', `ingressClassName: ${className}`)}\n---\n${controller}`;
  expect(compared(checked('a'), checked('a'))).toMatchObject({ changes: [], unknown: [] });
  expect(compared(checked('a'), checked('b'))).toMatchObject({ changes: [], unknown: [{}] });
});

describe('an object that decides about calls, and is not compared', () => {
  const gateway = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {
    gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: orders, namespace: shop}, spec: {
  parentRefs: [{name: edge}], rules: [{backendRefs: [{name: orders, port: 80}]}]}}`;
  const security = (spec: string) => `${gateway}
---
{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: check, namespace: shop}, spec: {
  targetRefs: [{kind: HTTPRoute, group: gateway.networking.k8s.io, name: orders}], ${spec}}}`;
  const authorizer = (service: string) => `${route("{prefix: '/'}")}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {
  mesh: "extensionProviders: [{name: opa, envoyExtAuthzGrpc: {service: ${service}, port: 9}}]"}}`;

  it.each([
    ['a SecurityPolicy', security('authorization: {defaultAction: Deny}'), security('authorization: {}'), 'shop/check'],
    [
      'the definition of an authorizer',
      authorizer('opa.shop'),
      authorizer('other.dev'),
      'ConfigMap istio-system/istio',
    ],
  ])('makes its destinations unknown: %s', (_, before, after, name) => {
    expect(compared(before, before)).toMatchObject({ changes: [], unknown: [] });
    expect(compared(before, after)).toMatchObject({
      changes: [],
      unknown: [{ reasons: [expect.stringContaining(name)] }],
    });
  });

  it('does not count if it decides nothing', () => {
    expect(compared(gateway, security('cors: {}'))).toMatchObject({ changes: [], unknown: [] });
  });
});

it('does not know whether an unknown port of the workload bypasses its sidecar', () => {
  const workload = `
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: orders, namespace: shop}, spec: {template: {metadata: {labels: {app: orders},
  annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '8080'}}, spec: {containers: [{name: app}]}}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop}, spec: {selector: {matchLabels: {app: orders}},
  rules: [{from: [{source: {namespaces: [dev]}}], to: [{operation: {ports: ['8080']}}]}]}}`;
  expect(compared(workload, `${workload}\n---\n${route('{prefix: /}')}`)).toMatchObject({
    changes: [],
    unknown: [{ reasons: ['it is not known at which port, and policies differ by port'] }],
  });
});
