/** List of ways into the cluster: identities, proxies and examples. */
import { loadManifests } from '@meshpass/istio';
import { describe, expect, test } from 'vitest';
import { type ExposureOptions, listExposures } from '../../src/exposure.ts';

function list(documents: readonly string[], options: ExposureOptions = {}) {
  const { resources, problems } = loadManifests(documents.join('\n---\n'), 'mesh.yaml');
  expect(problems).toEqual([]);
  return listExposures(resources, options);
}

const namespace = (labels: string, name = 'shop') =>
  `{apiVersion: v1, kind: Namespace, metadata: {name: ${name}, labels: {${labels}}}}`;
const SERVICE = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {type: LoadBalancer, selector: {app: orders}, ports: [{port: 80, name: http, targetPort: 8080}]}}`;
const deployment = (
  annotations = '',
) => `{apiVersion: apps/v1, kind: Deployment, metadata: {name: orders, namespace: shop},
  spec: {template: {metadata: {labels: {app: orders}, annotations: {${annotations}}}, spec: {containers: [{name: app}]}}}}`;
const strict = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: istio-system},
  spec: {mtls: {mode: STRICT}}}`;
const GATEWAY = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: shop},
  spec: {gatewayClassName: istio, listeners: [{name: https, port: 8443, protocol: HTTPS, hostname: "*.example.com"}]}}`;
const route = (
  rule: string,
) => `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: orders, namespace: shop},
  spec: {parentRefs: [{name: public}], rules: [${rule}]}}`;
const BACKEND = 'backendRefs: [{name: orders, port: 80}]';

describe('the proxy that enforces policies', () => {
  test.each([
    ['sidecar', [namespace('istio-injection: enabled'), deployment()]],
    ['none', [namespace('team: shop'), deployment()]],
    [
      'none',
      [namespace('istio-injection: enabled'), deployment('traffic.sidecar.istio.io/excludeInboundPorts: "8080"')],
    ],
    ['ztunnel', [namespace('istio.io/dataplane-mode: ambient'), deployment()]],
    [
      'ztunnel',
      [
        namespace(
          'istio.io/dataplane-mode: ambient, istio.io/use-waypoint: shop, istio.io/ingress-use-waypoint: "true"',
        ),
        deployment(),
      ],
    ],
    ['sidecar', []],
    ['unknown', [namespace('istio-injection: enabled'), deployment('sidecar.istio.io/interceptionMode: NONE')]],
    ['unknown', [namespace('istio-injection: enabled'), deployment('inject.istio.io/templates: custom')]],
    ['unknown', [namespace('team: shop')]],
    ['none', [namespace('istio-injection: disabled')]],
    [
      'none',
      [
        namespace('istio.io/dataplane-mode: ambient'),
        deployment().replace('{containers', '{hostNetwork: true, containers'),
      ],
    ],
  ])('in front of a load balanced Pod is %s', (proxy, documents) => {
    const one = list([SERVICE, ...documents]).find(({ entry }) => entry.kind === 'LoadBalancer');
    expect(one!.enforcer.proxy).toBe(proxy);
  });

  test('for calls of a gateway is the waypoint if the namespace says so', () => {
    const ambient =
      'istio.io/dataplane-mode: ambient, istio.io/use-waypoint: shop, istio.io/ingress-use-waypoint: "true"';
    const service = SERVICE.replace('type: LoadBalancer', 'type: ClusterIP');
    const [one] = list([GATEWAY, route(`{${BACKEND}}`), service, namespace(ambient), deployment()]);
    expect(one!.enforcer.proxy).toBe('waypoint');
    expect(one!.verdict).toBe('open');
  });
});

describe('the verdict', () => {
  test('is unknown if only files outside could require mutual TLS, and says why', () => {
    const [one] = list([SERVICE, deployment()]);
    expect([one!.verdict, one!.unknown]).toEqual([
      'unknown',
      ["no PeerAuthentication among these files applies, and Istio's default is PERMISSIVE"],
    ]);
  });

  test('is open if nothing else exists', () => {
    const [one] = list([SERVICE, deployment()], { complete: true });
    expect([one!.verdict, one!.unknown]).toEqual(['open', []]);
  });

  test('is closed by STRICT mutual TLS, and no request is an example', () => {
    const [one] = list([SERVICE, deployment(), strict]);
    expect([one!.verdict, one!.identityAtWorkload.state, one!.witness]).toEqual(['closed', 'required', undefined]);
  });

  test('is open despite STRICT if the Pod has no proxy', () => {
    const [one] = list([SERVICE, namespace('team: shop'), deployment(), strict]);
    expect(one!.verdict).toBe('open');
  });
});

describe('an entry', () => {
  test('has the place of its destination and of its entry point', () => {
    const [one] = list([GATEWAY, route(`{${BACKEND}}`)]);
    expect(one).toMatchObject({
      place: { file: 'mesh.yaml', line: 5 },
      object: { kind: 'HTTPRoute', namespace: 'shop', name: 'orders' },
      entry: {
        kind: 'KubernetesGateway',
        name: 'shop/public',
        place: { line: 1 },
        ports: [8443],
        description: 'Gateway shop/public (port 8443 HTTPS)',
      },
      hosts: ['*.example.com'],
      calls: [],
      destination: { host: 'orders.shop.svc.cluster.local', port: 80 },
      reach: 'external',
      verdict: 'open',
    });
  });

  test.each([
    ['service.beta.kubernetes.io/aws-load-balancer-scheme: internal', ''],
    ['networking.gke.io/load-balancer-type: Internal', ''],
    ['service.beta.kubernetes.io/azure-load-balancer-internal: "true"', ''],
    ['', 'loadBalancerSourceRanges: [10.0.0.0/8], '],
  ])('is internal with the annotation {%s} and {%s}', (annotation, ranges) => {
    const service = SERVICE.replace('namespace: shop}', `namespace: shop, annotations: {${annotation}}}`).replace(
      'spec: {',
      `spec: {${ranges}`,
    );
    const [one] = list([service]);
    expect(one!.reach).toBe('internal');
    expect(one!.internal).not.toBe('');
  });

  test('is external with a range of the whole internet', () => {
    const [one] = list([SERVICE.replace('spec: {', 'spec: {loadBalancerSourceRanges: [0.0.0.0/0], ')]);
    expect(one!.reach).toBe('external');
  });
});

describe('the example request', () => {
  test.each([
    [`{${BACKEND}}`, 'GET https://x.example.com:8443/'],
    [`{matches: [{path: {type: Exact, value: /a}, method: POST}], ${BACKEND}}`, 'POST https://x.example.com:8443/a'],
    [`{matches: [{queryParams: [{name: env, value: test}]}], ${BACKEND}}`, 'GET https://x.example.com:8443/?env=test'],
    [`{matches: [{path: {type: RegularExpression, value: "/a.*"}}], ${BACKEND}}`, undefined],
  ])('of %s is %s', (rule, expected) => {
    const [one] = list([GATEWAY, route(rule)]);
    expect(one!.witness && `${one!.witness.method} ${one!.witness.url}`).toBe(expected);
  });

  test('has the headers of the match', () => {
    const [one] = list([GATEWAY, route(`{matches: [{headers: [{name: x-env, value: test}]}], ${BACKEND}}`)]);
    expect(one!.witness!.headers).toEqual({ 'x-env': 'test' });
  });

  test('is one that a policy of the gateway allows', () => {
    const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: public, namespace: shop},
      spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}],
        rules: [{to: [{operation: {methods: [PUT], paths: [/status]}}]}]}}`;
    const [one] = list([GATEWAY, route(`{${BACKEND}}`), policy]);
    expect([one!.witness!.method, one!.witness!.url]).toEqual(['PUT', 'https://x.example.com:8443/status']);
  });

  const ISTIO_GATEWAY = `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: istio-ingress},
    spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS},
      tls: {mode: SIMPLE, credentialName: shop}, hosts: [shop.example.com]}]}}`;

  test('has a header without which an earlier route refuses it', () => {
    const refusing = (value: string, uri = '') =>
      `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop, namespace: shop}, spec: {
        hosts: [shop.example.com], gateways: [istio-ingress/public], http: [
          {match: [{${uri}withoutHeaders: {x-login: ${value}}}], directResponse: {status: 401}},
          {match: [{uri: {prefix: /orders}}], route: [{destination: {host: orders}}]}]}}`;
    const witnessWith = (...of: Parameters<typeof refusing>) => list([ISTIO_GATEWAY, refusing(...of)])[0]!.witness;
    expect(witnessWith('{exact: alice}')!.headers).toEqual({ 'x-login': 'alice' });
    expect(witnessWith('{regex: ".+"}')!.headers).toEqual({ 'x-login': 'x' });
    expect(witnessWith('{regex: "[a-z]+"}')).toBeUndefined();
    expect(witnessWith('{exact: alice}', 'uri: {prefix: /pay}, ')!.headers).toEqual({});
  });

  test('names the server of the listener to which an EnvoyFilter adds another host', () => {
    const filter = (domain: string) =>
      `{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: orders, namespace: istio-ingress}, spec: {
        workloadSelector: {labels: {istio: ingressgateway}}, configPatches: [{applyTo: VIRTUAL_HOST,
          match: {context: GATEWAY, routeConfiguration: {gateway: istio-ingress/public}},
          patch: {operation: ADD, value: {name: orders, domains: [${domain}],
            routes: [{match: {prefix: /}, route: {cluster: outbound|80||orders.shop.svc.cluster.local}}]}}}]}}`;
    const witnessAt = (domain: string) => list([ISTIO_GATEWAY, filter(domain)])[0]!.witness;
    expect(witnessAt('orders.example.com')).toEqual({
      method: 'GET',
      url: 'https://shop.example.com/',
      headers: { host: 'orders.example.com' },
    });
    expect(witnessAt('shop.example.com')).toEqual({ method: 'GET', url: 'https://shop.example.com/', headers: {} });
  });
});

test('a gateway between networks leads callers to a workload, whose mutual TLS decides', () => {
  const edge = `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: edge, namespace: meshpass-system},
    spec: {selector: {istio: meshpass-gateway}, servers: [{port: {number: 15443, name: tls, protocol: TLS},
      tls: {mode: AUTO_PASSTHROUGH}, hosts: [orders.shop.svc.cluster.local]}]}}`;
  const service = SERVICE.replace('type: LoadBalancer', 'type: ClusterIP');
  const injected = [namespace('istio-injection: enabled'), deployment(), service, edge];
  const [guarded] = list([...injected, strict]);
  expect([guarded!.entry.description, guarded!.verdict]).toEqual([
    'Gateway meshpass-system/edge (port 15443 TLS)',
    'closed',
  ]);
  const [open] = list(injected, { complete: true });
  expect([open!.verdict, open!.witness]).toEqual([
    'open',
    { method: 'CONNECT', url: 'tcp://orders.shop.svc.cluster.local:15443', headers: {} },
  ]);
});

test("Meshpass's edge leads sessions to granted services, if nothing else publishes the gateway behind it", () => {
  const gateway = `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: meshpass, namespace: meshpass-system},
    spec: {selector: {istio: meshpass-gateway}, servers: [{port: {number: 15443, name: tls, protocol: TLS},
      tls: {mode: AUTO_PASSTHROUGH}, hosts: [orders.shop.svc.cluster.local]}]}}`;
  const service = (component: string, type: string, port: number) => `{apiVersion: v1, kind: Service,
    metadata: {name: meshpass-${component}, namespace: meshpass-system}, spec: {type: ${type},
      selector: {app.kubernetes.io/name: meshpass, app.kubernetes.io/component: ${component}}, ports: [{name: tls, port: ${port}}]}}`;
  const pod = `{apiVersion: v1, kind: Pod, metadata: {name: gateway, namespace: meshpass-system, labels: {
    app.kubernetes.io/name: meshpass, app.kubernetes.io/component: gateway, istio: meshpass-gateway}}, spec: {containers: []}}`;
  const granted = SERVICE.replace('type: LoadBalancer', 'type: ClusterIP');
  const entriesWith = (gatewayType: string, edgeType: string) =>
    list([granted, gateway, pod, service('gateway', gatewayType, 15443), service('edge', edgeType, 443)]).map(
      ({ entry, identityAtEntry }) => [entry.description, identityAtEntry.state],
    );
  expect(entriesWith('ClusterIP', 'LoadBalancer')).toEqual([
    ['Edge meshpass-system/meshpass-edge (port 443)', 'required'],
  ]);
  const itself = [['Gateway meshpass-system/meshpass (port 15443 TLS)', 'none']];
  expect(entriesWith('LoadBalancer', 'LoadBalancer')).toEqual(itself);
  expect(entriesWith('ClusterIP', 'ClusterIP')).toEqual(itself);
});

describe('ways that a change opens', () => {
  const { resources: base } = loadManifests([namespace(''), SERVICE].join('\n---\n'), 'base.yaml');
  const internal = SERVICE.replace(
    'namespace: shop}',
    'namespace: shop, annotations: {networking.gke.io/load-balancer-type: Internal}}',
  );

  test.each<readonly [string, readonly string[], readonly string[]]>([
    ['none of the same state', [namespace(''), SERVICE], []],
    ['none that closes', [namespace(''), internal], []],
    ['another port', [namespace(''), SERVICE.replace('port: 80', 'port: 81')], ['orders.shop.svc.cluster.local 81']],
    [
      'none that is closed',
      [namespace('istio-injection: enabled'), strict, deployment(), SERVICE.replace('port: 80', 'port: 81')],
      [],
    ],
  ])('%s', (_, documents, expected) => {
    const ways = list(documents, { base });
    expect(ways.map(({ destination: { host, port } }) => `${host} ${port}`)).toEqual(expected);
  });

  test('include one that was internal and becomes public', () => {
    const { resources } = loadManifests([namespace(''), internal].join('\n---\n'), 'base.yaml');
    expect(list([namespace(''), SERVICE], { base: resources })).toHaveLength(1);
  });
});
