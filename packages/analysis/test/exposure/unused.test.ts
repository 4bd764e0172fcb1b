import { describe, expect, test } from 'vitest';
import { usageOf } from '../../src/exposure.ts';
import { SHOP, waysOf } from './shop.ts';

const LINE = {
  start_time: '2026-11-30T08:00:00.000Z',
  authority: 'shop.example.com',
  method: 'GET',
  path: '/orders/1?full=1',
  response_code: 200,
  response_code_details: 'via_upstream',
  upstream_cluster: 'outbound|8080||orders.shop.svc.cluster.local',
  route_name: null,
};

/** Lists the destinations of unused ways. */
function unusedAfter(...lines: readonly (object | string | undefined)[]) {
  const usage = usageOf(waysOf(SHOP));
  for (const line of lines) usage.read(typeof line === 'object' ? JSON.stringify(line) : line);
  const { ways, ...rest } = usage.result();
  return { ...rest, unused: ways.map(({ destination }) => destination.host.split('.')[0]) };
}

test('without lines, every way through Istio is unused; others are counted', () => {
  expect(unusedAfter()).toEqual({
    unused: ['orders', 'admin'],
    rules: [],
    unlogged: 1,
    lines: 0,
    unreadable: 0,
    from: undefined,
    to: undefined,
  });
});

describe('a line is a use', () => {
  test.each<readonly [string, object]>([
    ['of its route', {}],
    ['if the authority has a port and capitals', { authority: 'Shop.Example.com:443' }],
    [
      'if the cluster name ends with a semicolon',
      { upstream_cluster: 'outbound|8080||orders.shop.svc.cluster.local;' },
    ],
    ['if the format has no cluster', { upstream_cluster: undefined }],
    ['if the cluster has a name of the configuration', { upstream_cluster: 'orders' }],
    ['at the sidecar of the workload', { upstream_cluster: 'inbound|8080||' }],
    ['if the workload fails', { response_code: 503 }],
  ])('%s', (_, change) => {
    expect(unusedAfter({ ...LINE, ...change }).unused).toEqual(['admin']);
  });
});

describe('a line is no use', () => {
  test.each<readonly [string, object]>([
    ['of another host', { authority: 'other.example.com' }],
    ['of another method', { method: 'POST' }],
    ['of another path', { path: '/orders' }],
    ['of another destination', { upstream_cluster: 'outbound|8080||cart.shop.svc.cluster.local' }],
    ['of another port', { upstream_cluster: 'outbound|9090||orders.shop.svc.cluster.local' }],
    ['if no route matched', { response_code: 404, upstream_cluster: null }],
    [
      'if a policy refused it',
      { response_code: 403, response_code_details: 'rbac_access_denied_matched_policy[none]' },
    ],
  ])('%s', (_, change) => {
    expect(unusedAfter({ ...LINE, ...change }).unused).toEqual(['orders', 'admin']);
  });
});

test('a connection without HTTP is a use of its destination', () => {
  const text = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tcp, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: queue, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-ingress/tcp]
  tcp: [{route: [{destination: {host: queue, port: {number: 9000}}}]}]
`;
  const unusedWith = (cluster: string) => {
    const usage = usageOf(waysOf(text));
    const line = { ...LINE, authority: null, method: null, path: null, upstream_cluster: cluster };
    usage.read(JSON.stringify(line));
    return usage.result().ways.length;
  };
  expect(unusedWith('outbound|9000||queue.shop.svc.cluster.local')).toBe(0);
  expect(unusedWith('outbound|9000||other.shop.svc.cluster.local')).toBe(1);
});

test('lines of another kind, broken ones and ones that are too long are counted; empty ones are not', () => {
  const { lines, unreadable, from, to } = unusedAfter(
    { ...LINE, start_time: '2026-11-30T09:00:00Z' },
    LINE,
    '2026-11-30T08:00:00.000Z info Envoy proxy is ready',
    '{"level": "info"}',
    '[]',
    '{',
    undefined,
    '',
  );
  expect([lines, unreadable]).toEqual([7, 5]);
  expect([from, to]).toEqual(['2026-11-30T08:00:00.000Z', '2026-11-30T09:00:00.000Z']);
});
