/** The Sidecar of a grant on a real istiod: accepted, and workspaces of the grant are configured for its hosts as any workload is. */
import { compile, parseAccess } from '@meshpass/access';
import { meshOf } from '@meshpass/access/compile';
import { loadManifests } from '@meshpass/istio';
import { type Lab, upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../mesh.ts';
import { configurationOf, validate } from './istiod.ts';

const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const TOKENS = {
  issuer: 'https://broker.example',
  audience: 'mesh',
  header: 'x-meshpass-token',
  jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
};
const NAMESPACE = 'meshpass-sidecar-test';
const RELAY = { namespace: NAMESPACE, serviceAccount: 'meshpass-relay' };
const REFUNDS: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'refunds', namespace: 'shop' },
  spec: { selector: { app: 'orders' }, ports: [{ name: 'http', port: 8080 }] },
};
const SECOND_DATABASE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'second-db', namespace: 'shop' },
  spec: { selector: { app: 'ledger-db' }, ports: [{ name: 'tcp-postgres', port: 5432 }] },
};
const ROUTE: KubeObject = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name: 'sidecar-test', namespace: 'dev' },
  spec: {
    hosts: ['orders.shop.svc.cluster.local'],
    http: [{ route: [{ destination: { host: 'refunds.shop.svc.cluster.local' } }] }],
  },
};

let lab: Lab;
let services: readonly KubeObject[];

beforeAll(async () => {
  lab = await upLab();
  await lab.kubernetes.apply(
    ...[REFUNDS, SECOND_DATABASE],
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: RELAY.serviceAccount, namespace: NAMESPACE } },
  );
  const { items } = (await lab.kubernetes.call('GET', '/api/v1/services')) as { items: readonly KubeObject[] };
  services = items.map((one) => ({ ...one, apiVersion: 'v1', kind: 'Service' }));
});
afterAll(async () => {
  await lab?.kubernetes.remove(ROUTE, REFUNDS, SECOND_DATABASE);
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await lab?.down();
});

function sidecarFor(to: string, missing: 'refuse' | 'leave-out' = 'refuse'): KubeObject {
  const access = parseAccess(
    `trust: {codespaces: {organization: acme}}\ngrants: {sidecar-test: {who: [{user: ann}], to: [${to}]}}`,
    'access.yaml',
  );
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: services });
  const mesh = meshOf(loadManifests(list, 'cluster').resources, SHAPE);
  return compile(access, mesh, TOKENS, { missing }).find(({ kind }) => kind === 'Sidecar') as KubeObject;
}

const ALL = [
  '{service: orders.shop, port: 8080}, {service: refunds.shop, port: 8080}',
  '{service: ledger-db.shop, port: 5432}, {service: second-db.shop, port: 5432}',
].join(', ');
const seen = (routes: readonly string[] = []) => configurationOf(lab, RELAY, routes);

it('is accepted by istiod', async () => {
  expect(await validate(lab, sidecarFor(ALL))).toBeUndefined();
  expect(await validate(lab, sidecarFor('{service: gone.shop, port: 1}', 'leave-out'))).toBeUndefined();
});

it('could not have a listener for each host: istiod refuses two of one port number', async () => {
  const listener = (name: string, bind: string) => ({
    port: { number: 8080, protocol: 'HTTP', name },
    bind,
    captureMode: 'NONE',
    hosts: [`shop/${name}.shop.svc.cluster.local`],
  });
  const spec = { egress: [listener('orders', '127.64.0.1'), listener('refunds', '127.64.0.2')] };
  expect(await validate(lab, { ...sidecarFor(ALL), spec })).toContain('ports on IP bound listeners must be unique');
});

it('distinguishes services that share a port: HTTP by host, TCP by address', async () => {
  await lab.kubernetes.apply(sidecarFor(ALL));
  const { clusters, listeners, routes } = await until(
    () => seen(['8080']),
    (now) => now.clusters.includes('outbound|5432||second-db.shop.svc.cluster.local') && !now.clusters.some(isOfWeb),
    20,
  );
  expect(clusters.filter((name) => name.startsWith('outbound|'))).toEqual([
    'outbound|5432||ledger-db.shop.svc.cluster.local',
    'outbound|5432||second-db.shop.svc.cluster.local',
    'outbound|8080||orders.shop.svc.cluster.local',
    'outbound|8080||refunds.shop.svc.cluster.local',
    'outbound|9090||orders.shop.svc.cluster.local',
  ]);
  expect(listeners.filter((name) => name.endsWith('_5432'))).toHaveLength(2);
  expect(listeners).toContain('0.0.0.0_8080');
  expect(routes['8080']).toEqual([
    'block_all -> directResponse',
    'orders.shop.svc.cluster.local:8080 -> outbound|8080||orders.shop.svc.cluster.local',
    'refunds.shop.svc.cluster.local:8080 -> outbound|8080||refunds.shop.svc.cluster.local',
  ]);
});

it('applies the VirtualServices of every namespace, as to any workload', async () => {
  await lab.kubernetes.apply(ROUTE);
  const { routes } = await until(
    () => seen(['8080']),
    (now) => now.routes['8080']?.[1]?.includes('refunds') === true,
    20,
  );
  expect(routes['8080']![1]).toBe(
    'orders.shop.svc.cluster.local:8080 -> outbound|8080||refunds.shop.svc.cluster.local',
  );
});

it('shows nothing to a grant of nothing', async () => {
  await lab.kubernetes.apply(sidecarFor('{service: gone.shop, port: 1}', 'leave-out'));
  const { clusters, listeners } = await until(
    seen,
    (now) => !now.clusters.some((name) => name.startsWith('outbound|')),
    20,
  );
  expect(clusters).toEqual(['BlackHoleCluster', 'InboundPassthroughCluster', 'PassthroughCluster']);
  expect(listeners).toEqual(['virtualInbound', 'virtualOutbound']);
});

const isOfWeb = (name: string) => name.includes('web.dev');
