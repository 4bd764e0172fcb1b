/** A mesh in ambient mode. The expectations are rows that were measured with a real ztunnel and waypoint. */
import { loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { canI, parseCaller } from '../../src/evaluate.ts';

const namespace = (name: string, label: string) =>
  `---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {${label}}}\n`;
const deployment = (ns: string, name: string, port = 8080) => `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${ns}}
spec: {template: {metadata: {labels: {app: ${name}}}, spec: {serviceAccountName: ${name}, containers: [{name: app, ports: [{containerPort: ${port}}]}]}}}
`;
const service = (labels = '') => `---
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: amb, labels: {${labels}}}
spec: {clusterIP: 10.96.0.7, selector: {app: hello}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 90, targetPort: 9090}]}
`;
const mtls = (mode: string) => `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: ${mode}}}
`;
const policy = (spec: string, ns = 'amb', name = 'one') => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: ${ns}}
spec: ${spec}
`;
const AMBIENT = namespace('amb', 'istio.io/dataplane-mode: ambient');
const SHOP = namespace('shop', 'istio-injection: enabled') + deployment('shop', 'client');
const MESH = AMBIENT + SHOP + deployment('amb', 'hello') + deployment('amb', 'caller');

function answer(text: string, as: string, path = '/orders', to = 'hello.amb:80', more = {}, method = 'GET') {
  const view = viewMesh(loadManifests(text, 'mesh.yaml').resources);
  return canI(view, parseCaller(as, 'cluster.local'), to, { method, path }, more);
}
const allowed = (...args: Parameters<typeof answer>) => answer(...args).allowed;
const refusal = (...args: Parameters<typeof answer>) => {
  const [one] = answer(...args).answers;
  return one && { reason: one.decision.reason, at: one.decision.at, rule: one.decision.rule?.name };
};

describe('a ztunnel', () => {
  /** Callers amb/caller at /orders, amb/caller at /admin, shop/client at /orders, plain text; and a port without a Service. */
  it.each<readonly [string, string, readonly string[]]>([
    ['STRICT alone', '', ['yes', 'yes', 'yes', 'no', 'yes']],
    [
      'ALLOW of a principal',
      policy('{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}]}]}'),
      ['yes', 'yes', 'no', 'no', 'no'],
    ],
    [
      'ALLOW of principals at a port',
      policy(
        '{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller, cluster.local/ns/shop/sa/client]}}], to: [{operation: {ports: ["8080"]}}]}]}',
      ),
      ['yes', 'yes', 'yes', 'no', 'no'],
    ],
    [
      'DENY of a principal',
      policy('{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}]}]}'),
      ['yes', 'yes', 'no', 'no', 'no'],
    ],
    [
      'ALLOW with HTTP',
      policy(
        '{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}], to: [{operation: {methods: [GET], paths: [/orders]}}]}]}',
      ),
      ['no', 'no', 'no', 'no', 'no'],
    ],
    [
      'DENY with a principal and a path',
      policy(
        '{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}], to: [{operation: {paths: [/admin]}}]}]}',
      ),
      ['yes', 'yes', 'yes', 'no', 'yes'],
    ],
    [
      'DENY with a path',
      policy('{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}'),
      ['yes', 'yes', 'yes', 'no', 'yes'],
    ],
    [
      'DENY with port and path in one operation',
      policy(
        '{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}], to: [{operation: {ports: ["8080"], paths: [/admin]}}]}]}',
      ),
      ['yes', 'yes', 'no', 'no', 'yes'],
    ],
    [
      'DENY of a namespace without a token',
      policy('{action: DENY, rules: [{from: [{source: {namespaces: [shop], notRequestPrincipals: ["*"]}}]}]}'),
      ['yes', 'yes', 'no', 'no', 'no'],
    ],
    [
      'ALLOW with a token',
      policy('{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}'),
      ['no', 'no', 'no', 'no', 'no'],
    ],
    [
      'the guard of Meshpass',
      policy(
        '{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], when: [{key: connection.sni, notValues: [x]}]}]}',
        'istio-system',
      ),
      ['yes', 'yes', 'yes', 'no', 'yes'],
    ],
    [
      'DENY of other ports',
      policy(
        '{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {notPorts: ["8080"]}}]}]}',
        'istio-system',
      ),
      ['yes', 'yes', 'yes', 'no', 'no'],
    ],
    [
      'AUDIT',
      policy('{action: AUDIT, rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}]}]}'),
      ['yes', 'yes', 'yes', 'no', 'yes'],
    ],
  ])('%s', (_, extra, expected) => {
    const mesh = MESH + service() + mtls('STRICT') + extra;
    expect([
      allowed(mesh, 'amb/caller'),
      allowed(mesh, 'amb/caller', '/admin'),
      allowed(mesh, 'shop/client'),
      allowed(mesh, 'nobody'),
      allowed(mesh, 'shop/client', '/orders', 'amb/hello:8081'),
    ]).toEqual(expected);
  });

  it('accepts plain text unless the mode is STRICT, and a rule with a principal refuses it', () => {
    const allow = policy('{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}]}]}');
    for (const mode of ['PERMISSIVE', 'DISABLE']) {
      expect(allowed(MESH + service() + mtls(mode), 'nobody')).toBe('yes');
      expect(allowed(MESH + service() + mtls(mode) + allow, 'nobody')).toBe('no');
      // Unlike a sidecar, it still accepts certificates.
      expect(allowed(MESH + service() + mtls(mode) + allow, 'amb/caller')).toBe('yes');
    }
    expect(refusal(MESH + service() + mtls('STRICT'), 'nobody')).toEqual({
      reason: 'plaintext',
      at: 'ztunnel',
      rule: 'default',
    });
  });

  it('tests addresses of connections', () => {
    const deny = policy(
      '{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], when: [{key: destination.ip, notValues: [10.1.0.9]}]}]}',
    );
    const at = (destinationIp: string) =>
      allowed(MESH + service() + deny, 'shop/client', '/', 'hello.amb:80', { destinationIp });
    expect([at('10.1.0.9'), at('10.1.0.8')]).toEqual(['yes', 'no']);
  });

  it('names the deciding rule with its line', () => {
    const deny = policy(
      '{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}, {from: [{source: {namespaces: [shop]}}]}]}',
    );
    const [one] = answer(MESH + service() + deny, 'shop/client').answers;
    expect(one?.decision).toMatchObject({
      allowed: false,
      reason: 'deny-rule',
      as: 'tcp',
      at: 'ztunnel',
      rule: { name: 'one', rule: 1 },
    });
    expect(one?.decision.rule?.place().file).toBe('mesh.yaml');
  });
});

const WAYPOINT = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate, namespace: amb}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`;
const BOUND = MESH + mtls('STRICT') + WAYPOINT + service('istio.io/use-waypoint: gate');
const L7 = policy(
  '{targetRefs: [{kind: Service, group: "", name: hello}], rules: [{to: [{operation: {methods: [GET], paths: [/orders]}}]}]}',
);

describe('a waypoint', () => {
  it('decides the calls of ambient callers, and sidecars connect to the Pods without it', () => {
    expect([allowed(BOUND + L7, 'amb/caller'), allowed(BOUND + L7, 'amb/caller', '/admin')]).toEqual(['yes', 'no']);
    expect([allowed(BOUND + L7, 'shop/client'), allowed(BOUND + L7, 'shop/client', '/admin')]).toEqual(['yes', 'yes']);
    expect(refusal(BOUND + L7, 'amb/caller', '/admin')).toEqual({
      reason: 'no-allow-rule',
      at: 'waypoint amb/gate',
      rule: 'one',
    });
    expect(allowed(BOUND + L7, 'amb/caller', '/admin', 'amb/hello:8080')).toBe('yes');
  });

  it('does not know the way of callers without known workloads', () => {
    expect(allowed(BOUND + L7, 'elsewhere/one')).toBe('yes');
    const { allowed: verdict, answers } = answer(BOUND + L7, 'elsewhere/one', '/admin');
    expect(verdict).toBe('unknown');
    expect(answers[0]?.unknown).toBe(
      'it is not known whether the caller is in ambient mode: through waypoint amb/gate it is refused, and straight to the Pod it is allowed',
    );
  });

  it('ignores policies without targetRefs, and the Pod sees its identity', () => {
    const deny = policy('{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}]}]}');
    expect(allowed(BOUND + deny, 'amb/caller')).toBe('yes');
    const only = policy('{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/gate]}}]}]}', 'amb', 'only');
    expect([allowed(BOUND + only, 'amb/caller'), allowed(BOUND + only, 'shop/client')]).toEqual(['yes', 'no']);
    const other = policy('{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/caller]}}]}]}');
    expect(refusal(BOUND + other, 'amb/caller')).toEqual({
      reason: 'no-allow-rule',
      at: 'ztunnel behind waypoint amb/gate',
      rule: 'one',
    });
  });

  it.each([
    ['Gateway', '{kind: Gateway, group: gateway.networking.k8s.io, name: gate}', 'amb', 'no'],
    [
      'Gateway of another namespace',
      '{kind: Gateway, group: gateway.networking.k8s.io, name: gate}',
      'istio-system',
      'yes',
    ],
    [
      'GatewayClass in the root namespace',
      '{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}',
      'istio-system',
      'no',
    ],
    [
      'GatewayClass elsewhere',
      '{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}',
      'amb',
      'yes',
    ],
    ['another Service', '{kind: Service, group: "", name: other}', 'amb', 'yes'],
  ])('attaches by targetRefs: %s', (_, target, ns, expected) => {
    expect(allowed(BOUND + policy(`{action: DENY, targetRefs: [${target}], rules: [{}]}`, ns), 'amb/caller')).toBe(
      expected,
    );
  });

  it('sees the address and port of the Service, and no SNI', () => {
    const when = (key: string, value: string) =>
      policy(
        `{action: DENY, targetRefs: [{kind: Service, group: "", name: hello}], rules: [{when: [{key: ${key}, values: ["${value}"]}]}]}`,
      );
    expect(allowed(BOUND + when('destination.ip', '10.96.0.7'), 'amb/caller')).toBe('no');
    expect(allowed(BOUND + when('destination.port', '80'), 'amb/caller')).toBe('no');
    expect(allowed(BOUND + when('destination.port', '8080'), 'amb/caller')).toBe('yes');
    expect(allowed(BOUND + when('connection.sni', '*'), 'amb/caller', '/', 'hello.amb:80', { sni: 'x' })).toBe('yes');
    const from = { sourceIp: '10.1.0.7' };
    expect(allowed(BOUND + when('source.ip', '0.0.0.0/0'), 'amb/caller', '/', 'hello.amb:80', from)).toBe('yes');
    expect(allowed(BOUND + when('remote.ip', '10.1.0.0/16'), 'amb/caller', '/', 'hello.amb:80', from)).toBe('no');
  });

  it('verifies tokens by RequestAuthentications with targetRefs', () => {
    const jwt = (targets: string) => `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: amb}
spec: {${targets} jwtRules: [{issuer: i, jwks: '{}'}]}
`;
    const rule = policy(
      '{targetRefs: [{kind: Service, group: "", name: hello}], rules: [{when: [{key: "request.auth.claims[team]", values: [red]}]}]}',
    );
    const view = (targets: string) => viewMesh(loadManifests(BOUND + rule + jwt(targets), 'mesh.yaml').resources);
    const as = (claims?: Record<string, unknown>) => ({
      ...parseCaller('amb/caller', 'cluster.local'),
      ...(claims && { claims }),
    });
    const ask = (targets: string, claims?: Record<string, unknown>) =>
      canI(view(targets), as(claims), 'hello.amb:80', { method: 'GET', path: '/' }).allowed;
    const target = 'targetRefs: [{kind: Service, group: "", name: hello}],';
    expect(ask(target, { iss: 'i', sub: 's', team: 'red' })).toBe('yes');
    expect(ask(target, { iss: 'i', sub: 's', team: 'blue' })).toBe('no');
    expect(ask(target)).toBe('no');
    expect(ask('', { iss: 'i', sub: 's', team: 'red' })).toBe('no');
  });

  it('calls the Pods itself', () => {
    const only = policy('{rules: [{from: [{source: {principals: [cluster.local/ns/amb/sa/gate]}}]}]}', 'amb', 'only');
    expect(allowed(BOUND + L7 + only, 'amb/gate', '/admin')).toBe('yes');
  });

  it('is used by gateways only with a label', () => {
    const gateway = `---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: public, namespace: shop}\nspec: {selector: {app: edge}}\n${deployment('shop', 'edge')}`;
    expect(allowed(BOUND + gateway + L7, 'shop/edge', '/admin')).toBe('yes');
    const labelled = BOUND.replace(
      '{istio.io/use-waypoint: gate}',
      '{istio.io/use-waypoint: gate, istio.io/ingress-use-waypoint: "true"}',
    );
    expect(allowed(labelled + gateway + L7, 'shop/edge', '/admin')).toBe('no');
  });

  it('takes the labels of the Service before those of the Namespace', () => {
    const ofNamespace = (own: string) =>
      MESH.replace('ambient}', 'ambient, istio.io/use-waypoint: gate}') + WAYPOINT + service(own);
    expect(allowed(ofNamespace('') + L7, 'amb/caller', '/admin')).toBe('no');
    expect(allowed(ofNamespace('istio.io/use-waypoint: none') + L7, 'amb/caller', '/admin')).toBe('yes');
  });

  it('of another namespace is used if its listener allows it', () => {
    const elsewhere = (routes: string) =>
      MESH +
      service('istio.io/use-waypoint: gate, istio.io/use-waypoint-namespace: infra') +
      WAYPOINT.replace('namespace: amb', 'namespace: infra').replace('HBONE}', `HBONE${routes}}`);
    expect(allowed(`${elsewhere(', allowedRoutes: {namespaces: {from: All}}')}${L7}`, 'amb/caller', '/admin')).toBe(
      'no',
    );
    expect(allowed(elsewhere('') + L7, 'amb/caller', '/admin')).toBe('yes');
  });

  it('is not known if its Gateway was not read', () => {
    expect(answer(MESH + service('istio.io/use-waypoint: gate') + L7, 'amb/caller').answers[0]?.unknown).toBe(
      'the Gateway of waypoint amb/gate was not read',
    );
  });

  it('is not known if the Namespace was not read, which may name it', () => {
    const mesh = deployment('amb', 'hello').replace('{app: hello}', '{app: hello, istio.io/dataplane-mode: ambient}');
    const unknown = (labels: string) => answer(mesh + service(labels), 'amb/caller').answers[0]?.unknown;
    expect(unknown('')).toBe('Namespace amb, which may name a waypoint, was not read');
    expect(unknown('istio.io/use-waypoint: none')).toBeUndefined();
  });

  it('is not known for a headless Service if it takes the calls to the addresses of Pods', () => {
    const headless = service().replace('10.96.0.7', 'None');
    const mesh = MESH.replace('ambient}', 'ambient, istio.io/use-waypoint: gate}') + headless + WAYPOINT;
    const forPods = mesh.replace(
      'name: gate, namespace: amb',
      'name: gate, namespace: amb, labels: {istio.io/waypoint-for: all}',
    );
    expect(forPods).not.toBe(mesh);
    expect(allowed(forPods, 'amb/caller')).toBe('unknown');
    expect(allowed(mesh, 'amb/caller')).toBe('yes');
  });
});

describe('a sidecar called from ambient mode', () => {
  const running = (labels: string) => `---
apiVersion: v1
kind: Pod
metadata: {name: orders-1, namespace: shop, uid: u, labels: {app: orders${labels}}}
spec: {serviceAccountName: orders, containers: [{name: app}, {name: istio-proxy}]}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 80}]}
`;
  it('gets plain text, unless it accepts HBONE', () => {
    const mesh = MESH + mtls('STRICT');
    expect(allowed(mesh + running(''), 'amb/caller', '/', 'orders.shop:80')).toBe('no');
    expect(allowed(mesh + running(', networking.istio.io/tunnel: http'), 'amb/caller', '/', 'orders.shop:80')).toBe(
      'yes',
    );
    expect(allowed(mesh + running(''), 'shop/client', '/', 'orders.shop:80')).toBe('yes');
  });
});
