/**
 * Interpretations of Istio that once differed between can-i, diff, plan, compile and lint: all commands agree on them.
 */

import { DEFAULT_MESH_CONFIG, type MeshConfig, type Resource, viewMesh } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { compareMeaning } from '../../src/diff/compare.ts';
import { canI } from '../../src/evaluate/can-i.ts';
import { callerProxy } from '../../src/evaluate/ways.ts';
import { listExposures } from '../../src/exposure.ts';
import { ambientWorkloads } from '../../src/lint/ambient/workloads.ts';
import { lint } from '../../src/lint/lint.ts';
import { compareOutside } from '../../src/outside/compare.ts';
import { differences, mayCall, ORDERS, read } from './commands.ts';

const object = (kind: string, name: string, namespace: string, spec: string, more = '') => `---
apiVersion: ${kind === 'Gateway' ? 'networking' : 'security'}.istio.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}${more}}
spec: ${spec}
`;
const DENY_ALL = '{action: DENY, rules: [{}]}';

describe('a PeerAuthentication', () => {
  const STRICT = 'mtls: {mode: STRICT}';
  const selected = 'selector: {matchLabels: {app: orders}}';
  const open = read(ORDERS);

  test.each([
    ['with a selector in the root namespace', 'istio-system', `{${selected}, ${STRICT}}`, true],
    ['of the mesh', 'istio-system', `{${STRICT}}`, false],
    ['of the namespace', 'shop', `{${STRICT}}`, false],
    ['of the workload', 'shop', `{${selected}, ${STRICT}}`, false],
    ['with ports and without a selector', 'shop', '{portLevelMtls: {"8080": {mode: STRICT}}}', true],
  ])('%s: can-i and diff agree whether plain text is accepted', (_what, namespace, spec, letIn) => {
    const mesh = read(ORDERS + object('PeerAuthentication', 'p', namespace, spec));
    expect(mayCall(mesh, '')).toBe(letIn);
    const lost = compareMeaning(open, mesh, DEFAULT_MESH_CONFIG).changes.flatMap(({ where }) =>
      where.filter(({ workload, port }) => workload.labels.app === 'orders' && port === 8080),
    );
    expect(lost.length === 0).toBe(letIn);
  });

  test('of the mesh does not apply to the Pods of a gateway', () => {
    const gateway = `---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {istio: ingress}, ports: [{name: http, port: 8080}]}
${object('Gateway', 'g', 'shop', '{selector: {istio: ingress}, servers: []}')}`;
    const strict = read(gateway + object('PeerAuthentication', 'p', 'istio-system', `{${STRICT}}`));
    expect(mayCall(strict, '')).toBe(true);
    const at = compareMeaning(read(gateway), strict, DEFAULT_MESH_CONFIG).changes.flatMap(({ where }) =>
      where.map(({ workload }) => workload.labels.istio),
    );
    expect(at).not.toContain('ingress');
  });
});

describe('a targetPort that is a name', () => {
  const named = (deployed: string) => `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {containers: [{name: app, ports: [${deployed}]}]}}}
`;
  const deny = object(
    'AuthorizationPolicy',
    'p',
    'shop',
    '{action: DENY, rules: [{to: [{operation: {ports: ["7000"]}}]}]}',
  );

  it('is the port of the container, for can-i and diff', () => {
    const ports = '{name: web, containerPort: 7000}';
    expect(mayCall(read(named(ports) + deny))).toBe(false);
    const changes = compareMeaning(read(named(ports)), read(named(ports) + deny), DEFAULT_MESH_CONFIG).changes;
    expect(changes.flatMap(({ where }) => where.flatMap(({ services }) => services))).toContain('orders.shop:8080');
  });
});

describe('the protocol that a Service declares', () => {
  const services = (...names: readonly string[]) =>
    read(
      names
        .map(
          (name, index) => `---
apiVersion: v1
kind: Service
metadata: {name: ${index === 0 ? 'orders' : `more-${index}`}, namespace: shop, creationTimestamp: "2026-01-0${index + 1}T00:00:00Z"}
spec: {selector: {app: orders}, ports: [{name: ${name}, port: 8080}]}
`,
        )
        .join('') + object('AuthorizationPolicy', 'p', 'shop', '{rules: [{to: [{operation: {methods: [GET]}}]}]}'),
    );

  it('changes the meaning of a policy, for diff and can-i', () => {
    expect([mayCall(services('http')), mayCall(services('tcp'))]).toEqual([true, false]);
    expect(differences(services('http'), services('tcp'))).toEqual(['everybody loses']);
  });

  it('is that of the oldest Service', () => {
    expect(mayCall(services('tcp', 'http'))).toBe(false);
    expect(differences(services('tcp'), services('tcp', 'http'))).toEqual([]);
  });

  const service = (name: string, day: number, port: string) => `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop, creationTimestamp: "2026-01-0${day}T00:00:00Z"}
spec: {selector: {app: orders}, ports: [${port}]}
`;
  const http = '{name: http, port: 8080}';
  const tcp = '{name: tcp, port: 8080}';
  const ingress = `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: orders, namespace: shop}
spec: {workloadSelector: {labels: {app: orders}}, ingress: [{port: {number: 8080, protocol: HTTP, name: http}}]}
`;

  test.each([
    ['of a Sidecar, before that of a Service', service('orders', 1, tcp) + ingress, true],
    ['of the older Service: HTTP', service('orders', 1, http) + service('zz', 2, tcp), true],
    ['of the older Service: TCP', service('orders', 1, tcp) + service('zz', 2, http), false],
    ['of a TCP port beside a UDP port', service('orders', 1, `${http}, {name: dns, protocol: UDP, port: 53}`), true],
  ])('%s, for lint and can-i', (_what, services, isHttp) => {
    const policy =
      '{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}';
    const mesh = read(
      ORDERS.slice(ORDERS.indexOf('---')) + services + object('AuthorizationPolicy', 'p', 'shop', policy),
    );
    // On a TCP port the method is dropped from the rule, which then also denies a GET.
    expect(mayCall(mesh)).toBe(isHttp);
    expect(lint(mesh, { now: 0 }).findings.some(({ code }) => code === 'MP302')).toBe(!isHttp);
  });
});

test('a pattern with the beginning of the trust domain matches all of its names, for can-i and diff', () => {
  const settings: MeshConfig = { ...DEFAULT_MESH_CONFIG, trustDomainAliases: ['old.example'] };
  const allow = '{rules: [{from: [{source: {principals: ["cluster.l*/ns/dev/sa/web"]}}]}]}';
  const closed = read(ORDERS + object('AuthorizationPolicy', 'p', 'shop', '{}'));
  const opened = read(ORDERS + object('AuthorizationPolicy', 'p', 'shop', allow));
  const caller = { principal: 'old.example/ns/dev/sa/web' };
  const http = { method: 'GET', path: '/' };
  expect(canI(viewMesh(opened, settings), caller, 'orders.shop:8080', http).allowed).toBe('yes');
  const [change] = compareMeaning(closed, opened, settings).changes;
  expect(change?.example.texts.get('peer.trustDomain')).toMatch(/^(?:cluster\.local|old\.example)$/);
  expect(
    compareMeaning(closed, opened, settings)
      .changes.map(({ who }) => who)
      .join(),
  ).toContain('old.example');
});

describe('CUSTOM', () => {
  const authorizers = [{ name: 'known', protocol: 'grpc' as const }];
  const settings: MeshConfig = { ...DEFAULT_MESH_CONFIG, authorizers };
  const custom = (name: string, provider: string, dry = false) =>
    object(
      'AuthorizationPolicy',
      name,
      'shop',
      `{action: CUSTOM, provider: {name: ${provider}}, rules: [{to: [{operation: {paths: [/]}}]}]}`,
      dry ? ', annotations: {istio.io/dry-run: "T"}' : '',
    );
  const mayGet = (mesh: readonly Resource[]) =>
    // An authorizer that is asked agrees.
    canI(viewMesh(mesh, settings), { principal: 'cluster.local/ns/dev/sa/web' }, 'orders.shop:8080', {
      method: 'GET',
      path: '/',
    }).answers.every(({ decision }) => decision.allowed);

  test.each([
    ['of a known provider asks it', custom('a', 'known'), true, true],
    ['of an unknown provider refuses', custom('a', 'unknown'), false, false],
    ['of two providers refuses', custom('a', 'known') + custom('b', 'other'), false, false],
    ['in dry run refuses if the mesh knows the provider', custom('a', 'known', true), false, false],
    ['in dry run does nothing otherwise', custom('a', 'unknown', true), true, false],
  ])('%s', (_what, policies, allowed, asked) => {
    const mesh = read(ORDERS + policies);
    expect(mayGet(mesh)).toBe(allowed);
    const { changes } = compareMeaning(read(ORDERS), mesh, settings);
    expect(changes.length > 0).toBe(!allowed || asked);
    // If an authorizer is asked, the description contains its decision.
    expect(changes.some(({ circumstances }) => circumstances.includes('authorizer'))).toBe(asked);
  });
});

test('Pods of a StatefulSet are separate workloads if a policy selects one of them', () => {
  const pod = (index: number) => `---
apiVersion: v1
kind: Pod
metadata: {name: db-${index}, namespace: shop, labels: {app: orders, statefulset.kubernetes.io/pod-name: db-${index}}}
spec: {}
`;
  const mesh = `${ORDERS.slice(0, ORDERS.indexOf('---'))}${pod(0)}${pod(1)}`;
  const one = object(
    ...(['AuthorizationPolicy', 'p', 'shop'] as const),
    `{selector: {matchLabels: {statefulset.kubernetes.io/pod-name: db-1}}, ${DENY_ALL.slice(1)}`,
  );
  const { allowed } = canI(viewMesh(read(mesh + one), DEFAULT_MESH_CONFIG), {}, 'orders.shop:8080', {
    method: 'GET',
    path: '/',
  });
  expect(allowed).toBe('some');
  expect(differences(read(mesh), read(mesh + one))).not.toEqual([]);
});

test('a Pod that has ended is not a workload', () => {
  const ended = `---
apiVersion: v1
kind: Pod
metadata: {name: old, namespace: shop, labels: {app: orders, old: "yes"}}
spec: {}
status: {phase: Succeeded}
`;
  const view = viewMesh(read(ORDERS + ended), DEFAULT_MESH_CONFIG);
  expect(view.workloads.map(({ name }) => name)).toEqual(['orders']);
});

describe('a Pod that is labelled for ambient mode', () => {
  const mesh = (annotations: string, pod: string, uid = ', uid: "1"') =>
    read(`
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {
  type: LoadBalancer, selector: {app: orders}, ports: [{name: http, port: 8080}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: orders, namespace: shop${uid}, labels: {app: orders}, annotations: {${annotations}}},
  spec: {${pod}}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: strict, namespace: istio-system}, spec: {
  mtls: {mode: STRICT}}}
`);
  const CAPTURED = 'ambient.istio.io/redirection: enabled';
  const BYPASS = `${CAPTURED}, ambient.istio.io/bypass-inbound-capture: "true"`;

  test.each([
    ['the CNI agent has not captured', mesh('', ''), 'unknown', 'unknown', 'unknown', undefined],
    ['the CNI agent has captured', mesh(CAPTURED, ''), 'no', 'ztunnel', 'closed', 'ambient'],
    ['is not in the cluster yet', mesh('', '', ''), 'no', 'ztunnel', 'closed', 'ambient'],
    ['lets calls from outside bypass the ztunnel', mesh(BYPASS, ''), 'unknown', 'none', 'open', 'ambient'],
    ['is in the network of its node', mesh('', 'hostNetwork: true'), 'unknown', 'none', 'open', undefined],
  ])('and that %s, for can-i, exposure, diff and lint', (_what, resources, allowed, proxy, verdict, asCaller) => {
    const view = viewMesh(resources, DEFAULT_MESH_CONFIG);
    expect(canI(view, {}, 'orders.shop:8080', { method: 'GET', path: '/' }).allowed).toBe(allowed);
    expect(callerProxy(view, 'cluster.local/ns/shop/sa/default')).toBe(asCaller);
    expect(ambientWorkloads(view)).toHaveLength(asCaller === undefined ? 0 : 1);
    const [way] = listExposures(resources, { complete: true });
    expect([way!.enforcer.proxy, way!.verdict]).toEqual([proxy, verdict]);
    const published = resources.filter(({ kind }) => kind !== 'Service');
    const { changes, unknown } = compareOutside(published, resources, { rootNamespace: 'istio-system' });
    expect([changes.length > 0, unknown.length > 0]).toEqual([verdict === 'open', verdict === 'unknown']);
  });
});

describe('a VirtualService that is exported to its own namespace', () => {
  const mesh = (pods: string, exported = "exportTo: ['.'],", config = '') =>
    read(`
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: shop}, spec: {
  selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: public, namespace: ${pods || 'shop'}}, spec: {
  type: LoadBalancer, selector: {istio: ingressgateway}, ports: [{port: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop, namespace: shop}, spec: {
  hosts: [shop.example.com], gateways: [public], ${exported} http: [{route: [{destination: {host: orders}}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 80}]}}
${pods && `---\n{apiVersion: v1, kind: Pod, metadata: {name: gw, namespace: ${pods}, labels: {istio: ingressgateway}}, spec: {containers: [{name: istio-proxy}]}}`}
${config && `---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: '${config}'}}`}
`);
  const DEFAULT = 'defaultVirtualServiceExportTo: ["."]';

  test.each([
    ['beside the Pods of the gateway', mesh('shop'), 'served'],
    ['apart from the Pods of the gateway', mesh('istio-ingress'), 'not served'],
    ['for a gateway without known Pods', mesh(''), 'unknown'],
    ['by the default of the mesh, beside the Pods', mesh('shop', '', DEFAULT), 'served'],
    ['by the default of the mesh, apart from the Pods', mesh('istio-ingress', '', DEFAULT), 'not served'],
    ['despite the default of the mesh', mesh('istio-ingress', "exportTo: ['*'],", DEFAULT), 'served'],
  ])('%s: exposure and diff of calls from outside agree', (_what, resources, expected) => {
    const ways = listExposures(resources, { complete: true }).filter(({ entry }) => entry.kind === 'Gateway');
    const verdict = ways.length === 0 ? 'not served' : ways[0]!.verdict === 'open' ? 'served' : ways[0]!.verdict;
    expect(verdict).toBe(expected);
    const without = resources.filter(({ kind }) => kind !== 'VirtualService');
    const { changes, unknown } = compareOutside(without, resources, { rootNamespace: 'istio-system' });
    expect(changes.length > 0 ? 'served' : unknown.length > 0 ? 'unknown' : 'not served').toBe(expected);
  });
});
