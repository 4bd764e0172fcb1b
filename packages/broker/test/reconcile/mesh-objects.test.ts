import { meshServiceOf, protocolOf } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { toPod, toPolicy, withWorkloads } from '../../src/mesh/reconcile/cluster-view.ts';

describe('the protocol of a port, as istiod sees it', () => {
  it.each([
    [8080, 'http', 'http'],
    [8080, 'http-admin', 'http'],
    [8080, 'HTTP-web', 'http'],
    [8080, 'http2', 'http2'],
    [8080, 'grpc-orders', 'http2'],
    [8080, 'grpc-web-orders', 'http2'],
    [8080, 'kubernetes.io/h2c', 'http2'],
    [8080, 'kubernetes.io/ws', 'http'],
    [8080, 'kubernetes.io/wss', 'tcp'],
    [8443, 'https', 'tcp'],
    [5432, 'tcp-postgres', 'tcp'],
    [6379, 'redis', 'tcp'],
    [3306, 'db', 'tcp'],
    [5432, 'postgres', 'undeclared'],
    [8080, 'httpx', 'undeclared'],
    [8080, '', 'undeclared'],
    [8080, 'constructor', 'undeclared'],
  ])('%d "%s" is %s', (port, declared, protocol) => {
    expect(protocolOf(port, declared)).toBe(protocol);
  });
});

describe('a Service', () => {
  const metadata = { name: 'orders', namespace: 'shop' };

  it('has its labels and its TCP ports; appProtocol goes before the name', () => {
    const labels = { tier: 'backend' };
    const ports = [
      { name: 'tcp-x', port: 8080, appProtocol: 'http' },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ];
    expect(meshServiceOf({ metadata: { ...metadata, labels }, spec: { selector: { app: 'orders' }, ports } })).toEqual({
      ...metadata,
      labels,
      selector: { app: 'orders' },
      ports: [{ name: 'tcp-x', port: 8080, targetPort: 8080, protocol: 'http' }],
    });
  });

  it('that is only a name for something outside is left out', () => {
    expect(meshServiceOf({ metadata, spec: { type: 'ExternalName' } })).toBeUndefined();
  });

  it('has each of its workloads once, and none without a selector', () => {
    const pod = (hash: string, namespace = 'shop', phase = 'Running') =>
      toPod({
        metadata: { name: hash, namespace, labels: { app: 'orders', 'pod-template-hash': hash } },
        spec: { serviceAccountName: 'orders' },
        status: { phase },
      });
    const pods = [pod('a'), pod('b'), pod('c', 'dev'), pod('d', 'shop', 'Succeeded')].filter(
      (one) => one !== undefined,
    );
    const service = { ...metadata, selector: { app: 'orders' }, ports: [] };
    expect(pods).toHaveLength(3);
    expect(withWorkloads(service, pods).workloads).toEqual([{ labels: { app: 'orders' }, serviceAccount: 'orders' }]);
    expect(withWorkloads({ ...service, selector: {} }, pods).workloads).toEqual([]);
  });
});

describe('an AuthorizationPolicy', () => {
  it('of another owner is an ALLOW of every workload unless it selects some', () => {
    const metadata = { name: 'a', namespace: 'shop' };
    expect(toPolicy({ metadata })).toEqual({ policy: { ...metadata, action: 'ALLOW' } });
  });

  it('of ours is known by its label', () => {
    const metadata = {
      name: 'a',
      namespace: 'shop',
      generation: 3,
      labels: { 'app.kubernetes.io/managed-by': 'meshpass' },
    };
    expect(toPolicy({ metadata, spec: {} })).toEqual({ name: 'a', generation: 3 });
  });
});

test.each([
  ['one that targets a waypoint or a gateway', { spec: { targetRefs: [{ kind: 'Gateway', name: 'waypoint' }] } }],
  ['one that targets it the old way', { spec: { targetRef: { kind: 'Gateway', name: 'waypoint' } } }],
  ...['true', 'True', 'T', '1'].map((text): [string, object] => [
    `a dry run (${text})`,
    { metadata: { name: 'a', namespace: 'shop', annotations: { 'istio.io/dry-run': text } } },
  ]),
])('%s is not taken for a policy that sidecars enforce', (_what, object) => {
  const metadata = { name: 'a', namespace: 'shop' };
  expect(toPolicy({ metadata, ...object })).toEqual({ policy: undefined });
});
