/** Sidecar to ambient without a waypoint. Each expectation is a row that was measured at a real ztunnel. */
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compareOutside } from '../../src/outside/compare.ts';

const ROUTE = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [ingress/public]
  http: [{route: [{destination: {host: orders, port: {number: 80}}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  template:
    metadata: {labels: {app: orders}}
    spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
`;
const namespace = (label: string) =>
  `apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {${label}}}\n---\n`;
const policy = (spec: string) =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: orders, namespace: shop}\nspec: ${spec}\n`;

function migrated(spec: string) {
  const load = (label: string) => loadManifests(namespace(label) + ROUTE + policy(spec), 'mesh.yaml').resources;
  const [before, after] = [load('istio-injection: enabled'), load('istio.io/dataplane-mode: ambient')];
  const { changes, unknown } = compareOutside(before, after, { rootNamespace: 'istio-system' });
  return { changes: changes.map(({ kind, witness }) => `${kind} ${witness.method} ${witness.url}`), unknown };
}

describe('a namespace that moves from sidecars to ambient mode', () => {
  it('keeps rules of connections', () => {
    expect(migrated('{rules: [{from: [{source: {namespaces: [ingress]}}]}]}')).toEqual({ changes: [], unknown: [] });
    expect(migrated('{action: DENY, rules: [{from: [{source: {namespaces: [ingress]}}]}]}')).toEqual({
      changes: [],
      unknown: [],
    });
  });

  it('loses every call that an ALLOW rule with a field of HTTP allowed', () => {
    const { changes } = migrated('{rules: [{to: [{operation: {methods: [GET], paths: [/orders]}}]}]}');
    expect(changes).toEqual(['loses GET http://shop.example.com/orders']);
  });

  it('gains every call that a DENY rule with fields of HTTP denied', () => {
    const { changes } = migrated('{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}');
    expect(changes).toEqual(['gains GET http://shop.example.com/admin']);
    const mixed =
      '{action: DENY, rules: [{from: [{source: {namespaces: [ingress]}}], to: [{operation: {paths: [/admin]}}]}]}';
    expect(migrated(mixed).changes).toEqual(['gains GET http://shop.example.com/admin']);
  });

  it('loses more than a DENY operation with a port and a path denied', () => {
    const { changes } = migrated('{action: DENY, rules: [{to: [{operation: {ports: ["8080"], paths: [/admin]}}]}]}');
    expect(changes).toEqual(['loses GET http://shop.example.com/x']);
  });

  it('keeps the alternatives of a DENY rule without fields of HTTP, and loses the others', () => {
    const denied = (port: string) =>
      migrated(`{action: DENY, rules: [{to: [{operation: {ports: ["${port}"]}}, {operation: {paths: [/a]}}]}]}`);
    expect(denied('8080')).toEqual({ changes: [], unknown: [] });
    expect(denied('9090')).toEqual({ changes: ['gains GET http://shop.example.com/a'], unknown: [] });
  });

  it('asks no authorizer', () => {
    const { changes, unknown } = migrated('{action: CUSTOM, provider: {name: opa}, rules: [{}]}');
    expect({ changes, unknown }).toMatchObject({ changes: [], unknown: [{ reasons: ['the authorizer opa decides'] }] });
  });
});

describe('gateways that use the waypoint of a Service', () => {
  const WAYPOINT = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate, namespace: shop}
spec: {gatewayClassName: istio-waypoint}
---
`;
  const USED = 'istio.io/dataplane-mode: ambient, istio.io/use-waypoint: gate, istio.io/ingress-use-waypoint: "true"';
  const target = 'targetRefs: [{kind: Service, group: "", name: orders}]';
  const compare = (label: string, ...specs: readonly string[]) => {
    const [before, after] = [
      namespace('istio-injection: enabled') +
        ROUTE +
        policy('{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}'),
      namespace(label) + ROUTE + specs.map(policy).join('---\n') + WAYPOINT,
    ].map((text) => loadManifests(text, 'mesh.yaml').resources);
    const { changes, unknown } = compareOutside(before!, after!, { rootNamespace: 'istio-system' });
    return { changes: changes.map(({ kind, witness }) => `${kind} ${witness.method} ${witness.url}`), unknown };
  };
  const DENY = `{${target}, action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`;

  it('keep its rules of requests', () => {
    expect(compare(USED, DENY)).toEqual({ changes: [], unknown: [] });
  });

  it('lose every call if the Pods admit only the gateway', () => {
    const ofGateway = DENY.replace(/.*/, '{rules: [{from: [{source: {namespaces: [ingress]}}]}]}');
    expect(compare(USED, ofGateway).changes).toEqual(['loses GET http://shop.example.com/x']);
  });

  it('go around it without the label', () => {
    const label = USED.replace(', istio.io/ingress-use-waypoint: "true"', '');
    expect(compare(label, DENY).changes).toEqual(['gains GET http://shop.example.com/admin']);
  });

  it('are not compared if the waypoint is not among the objects', () => {
    expect(compare(USED.replace('gate,', 'other,'), DENY).unknown).toMatchObject([
      { reasons: ['the Gateway of waypoint shop/other was not read'] },
    ]);
  });
});
