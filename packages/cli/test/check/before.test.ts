/** Findings of `meshpass check --before` about clusters that lack something, and about one that lacks nothing. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { INSTALL_PERMISSIONS } from '../../src/check/rights.ts';
import { runPreflightChecks } from '../../src/check/run.ts';
import { exitCodeFor } from '../../src/diagnosis/finding.ts';
import type { CheckedFinding } from '../../src/diagnosis/run.ts';
import { readChartValues } from '../../src/input/chart-values.ts';

const ROOT = new URL('../../../../', import.meta.url);
const SECURITY = '/apis/security.istio.io/v1';
const PODS = '/api/v1/pods';
const ACCESS = `trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: ann}], to: [{service: orders.shop, port: 8080}]}
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-before-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const written = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

type Objects = Readonly<Record<string, unknown>>;
const items = (...all: readonly object[]) => ({ items: all });
const named = (name: string, namespace?: string, more: object = {}) => ({
  metadata: { name, ...(namespace && { namespace }), ...more },
});
const strict = (mode: string, namespace = 'istio-system') => ({
  ...named('default', namespace),
  spec: { mtls: { mode } },
});
const order = (name: string, ports: object) => ({
  ...named(name, 'shop'),
  spec: { selector: { app: name }, ports: [{ port: 8080, ...ports }] },
});
const pod = (name: string, ...containers: readonly string[]) => ({
  ...named(`${name}-1`, 'shop', { uid: name, labels: { app: name } }),
  spec: { containers: containers.map((one) => ({ name: one })) },
  status: { phase: 'Running' },
});
const istiod = (image: string) => items({ ...named('istiod-1', 'istio-system'), spec: { containers: [{ image }] } });

/** A cluster that lacks nothing. */
const WHOLE: Objects = {
  '/version': { gitVersion: 'v1.34.0', minor: '34' },
  '/apis': { groups: [{ versions: [{ groupVersion: 'security.istio.io/v1' }] }] },
  '/api/v1/namespaces/istio-system/pods': istiod('docker.io/istio/pilot:1.31.0'),
  '/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices': items({
    ...named('istiod-a'),
    ports: [{ port: 15012 }],
    endpoints: [{ conditions: { ready: true } }],
  }),
  [`${SECURITY}/peerauthentications`]: items(strict('STRICT')),
  '/api/v1/services': items(order('orders', { name: 'http' }), {
    ...named('ingress', 'istio-system'),
    spec: { type: 'LoadBalancer', ports: [] },
    status: { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } },
  }),
  '/api/v1/namespaces': items(named('shop', undefined, { labels: { 'istio-injection': 'enabled' } })),
  [PODS]: items(pod('orders', 'app', 'istio-proxy')),
  '/apis/storage.k8s.io/v1/storageclasses': items(
    named('fast', undefined, { annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } }),
  ),
  '/apis/apps/v1/daemonsets': items({ ...named('calico-node', 'kube-system'), status: { numberReady: 1 } }),
};

interface Given {
  readonly objects?: Objects;
  readonly access?: string;
  readonly values?: string;
  /** Whether the user may do something in a namespace. */
  readonly may?: (attributes: Readonly<Record<string, string>>) => boolean;
}

/** Checks a cluster: WHOLE with changes; a path with a value of `403` is refused, and one of undefined answers 404. */
async function before({ objects = {}, access, values, may = () => true }: Given): Promise<readonly CheckedFinding[]> {
  const all: Objects = { ...WHOLE, ...objects };
  const call = async ({ method, path, body }: { method: string; path: string; body?: unknown }) => {
    if (all[path] === 403)
      throw new MeshpassError('kubernetes_unavailable', 'refused', { detail: { method, path, status: 403 } });
    if (method === 'GET') return { status: all[path] === undefined ? 404 : 200, body: all[path] ?? {} };
    expect(path).toBe('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews');
    const { spec } = body as { spec: { resourceAttributes: Record<string, string> } };
    return { status: 201, body: { status: { allowed: may(spec.resourceAttributes) } } };
  };
  return await runPreflightChecks({
    cluster: {
      http: { call },
      namespace: 'meshpass-system',
      rootNamespace: 'istio-system',
      istiod: 'istiod',
      gitops: false,
      now: Date.now,
      gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
    },
    ...(access !== undefined && { access: written('access.yaml', access) }),
    ...(values !== undefined && { values: readChartValues(written('values.yaml', values)) }),
  });
}
/** Findings of one check, as `state says`. */
const of = (check: string, findings: readonly CheckedFinding[]) =>
  findings.filter((one) => one.check === check).map(({ state, says }) => `${state} ${says}`);

it('a cluster that lacks nothing is in order, and an installation is possible', async () => {
  const findings = await before({ access: ACCESS, values: 'broker: {host: 203.0.113.9}' });
  expect(findings.map(({ check, state }) => `${state} ${check}`)).toEqual([
    ...['ok kubernetes', 'ok istio', 'ok istiod', 'ok access', 'ok services', 'ok storage', 'ok load-balancer'],
    ...['ok network-policy', 'ok rights', 'ok release', 'ok names', 'skipped github'],
  ]);
  expect(exitCodeFor(findings)).toBe(0);
});

it('the rights are those to create each kind of the chart', () => {
  const folders = ['templates', 'files'].map((one) => new URL(`deploy/helm/meshpass/${one}/`, ROOT));
  const texts = folders.flatMap((url) =>
    readdirSync(url, { withFileTypes: true }).flatMap((one) =>
      one.name.endsWith('.yaml') ? readFileSync(new URL(one.name, url), 'utf8') : [],
    ),
  );
  const kinds = texts.flatMap((text) => [...text.matchAll(/^kind: (\w+)$/gm)].map(([, kind]) => kind!));
  const optional = ['Certificate', 'PrometheusRule', 'ServiceMonitor'];
  const plural = (kind: string) => kind.toLowerCase().replace(/y$/, 'ie').concat('s');
  // Helm stores the release in a Secret.
  expect([...new Set(['secrets', ...kinds.filter((kind) => !optional.includes(kind)).map(plural)])].sort()).toEqual(
    [...new Set(INSTALL_PERMISSIONS.map(({ resource }) => resource))].sort(),
  );
});

describe('reports', () => {
  it.each([
    ['pilot:1.28.2', ['warning Istio 1.28.2 is not a tested release. Meshpass is tested with Istio 1.29, 1.30, 1.31.']],
    [
      'pilot:1.310.0',
      ['warning Istio 1.310.0 is not a tested release. Meshpass is tested with Istio 1.29, 1.30, 1.31.'],
    ],
    [
      'pilot@sha256:aa',
      ['unknown No istiod image in istio-system has a version tag. Meshpass is tested with Istio 1.29, 1.30, 1.31.'],
    ],
  ])('Istio of the image %s', async (image, says) => {
    const objects = { '/api/v1/namespaces/istio-system/pods': istiod(image) };
    expect(of('istio', await before({ objects }))).toEqual(says);
  });

  it.each<[string, Objects, string]>([
    [
      'a port without a protocol',
      { '/api/v1/services': items(order('orders', { name: 'web' })) },
      'failed orders.shop:8080 does not declare a protocol',
    ],
    ['a service that does not exist', { '/api/v1/services': items() }, 'failed the mesh has no service orders.shop'],
    [
      'a mode other than STRICT',
      { [`${SECURITY}/peerauthentications`]: items(strict('STRICT'), strict('PERMISSIVE', 'shop')) },
      'failed orders.shop:8080 also accepts plaintext connections, which bypass grants (PERMISSIVE by PeerAuthentication shop/default).',
    ],
    [
      'a mesh without any mode',
      { [`${SECURITY}/peerauthentications`]: items() },
      "failed orders.shop:8080 also accepts plaintext connections, which bypass grants (PERMISSIVE by Istio's default).",
    ],
    [
      'a Pod without a sidecar',
      { [PODS]: items(pod('orders', 'app')) },
      'failed orders.shop:8080: Pod orders-1 has no sidecar to check calls',
    ],
    [
      'a Pod in ambient mode',
      {
        [PODS]: items({
          ...pod('orders', 'app'),
          ...named('orders-1', 'shop', {
            uid: 'orders',
            labels: { app: 'orders' },
            annotations: { 'ambient.istio.io/redirection': 'enabled' },
          }),
        }),
      },
      'failed orders.shop:8080: no grant works on Pod orders-1: it is in ambient mode, which grants do not support yet',
    ],
    ['a service without Pods', { [PODS]: items() }, 'unknown orders.shop:8080 has no Pod'],
    ['Pods that this user may not list', { [PODS]: 403 }, 'unknown This kubeconfig lacks the required permission'],
  ])('%s', async (_, objects, says) => {
    const findings = await before({ objects, access: ACCESS });
    const bad = findings.filter(({ check, state }) => /access|services/.test(check) && /failed|unknown/.test(state));
    expect(bad.map((one) => `${one.state} ${one.says}`)).toEqual([expect.stringContaining(says)]);
    expect(exitCodeFor(findings)).toBe(says.startsWith('failed') ? 1 : 4);
  });

  it.each([
    [{}, ['ok Mutual TLS is STRICT mesh-wide.']],
    [
      { [`${SECURITY}/peerauthentications`]: items() },
      ['unknown Mutual TLS is PERMISSIVE by default; granted services require STRICT.'],
    ],
  ])('the default of the mesh without an access file', async (objects, says) => {
    expect(of('services', await before({ objects }))).toEqual(says);
  });

  it('keys of the access file that earlier versions had, by line, before an upgrade', async () => {
    const file = `${ACCESS}operators:\n  secondPerson: [policy.apply]\n  confirm: 5m\n`;
    const installed = {
      ...named('meshpass-broker', undefined, { labels: { 'app.kubernetes.io/version': '0.1.0' } }),
      subjects: [{ namespace: 'meshpass-system' }],
    };
    const objects = { '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/meshpass-broker': installed };
    const findings = await before({ objects, access: file });
    expect(findings.filter(({ check }) => check === 'access')).toMatchObject(
      [5, 6].map((line) => ({
        state: 'failed',
        code: 'access_file_unknown_key',
        place: expect.stringMatching(new RegExp(`access.yaml:${line}:`)),
        says: expect.stringContaining('" was removed in favor of '),
      })),
    );
    expect(of('release', findings)).toEqual(['ok Meshpass 0.1.0 is installed in meshpass-system: this is an upgrade.']);
    expect(exitCodeFor(findings)).toBe(1);
  });

  it('an installation in another namespace', async () => {
    const objects = {
      '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/meshpass-broker': {
        ...named('meshpass-broker'),
        subjects: [{ namespace: 'old' }],
      },
    };
    expect(of('release', await before({ objects }))).toEqual([
      'failed Meshpass (unknown version) is already installed in old; a cluster can have only one.',
    ]);
  });

  it.each([
    ['', {}, 'ok StorageClass fast is the default.'],
    [
      '',
      { '/apis/storage.k8s.io/v1/storageclasses': items(named('slow')) },
      'failed The cluster has no default StorageClass',
    ],
    ['database: {embedded: {storageClass: slow}}', {}, 'failed StorageClass slow does not exist'],
    [
      'database: {secret: db}',
      { '/apis/storage.k8s.io/v1/storageclasses': items() },
      'ok The values configure PostgreSQL',
    ],
  ])('storage for the values %j', async (values, objects, says) => {
    expect(of('storage', await before({ values, objects }))).toEqual([expect.stringContaining(says)]);
  });

  it('what it cannot see as unknown: load balancers and the engine of NetworkPolicy', async () => {
    const pending = { ...named('ingress', 'istio-system'), spec: { type: 'LoadBalancer' }, status: {} };
    const none = await before({ objects: { '/api/v1/services': items(), '/apis/apps/v1/daemonsets': items() } });
    expect([...of('load-balancer', none), ...of('network-policy', none)]).toEqual([
      expect.stringMatching(/^unknown No Service of type LoadBalancer exists/),
      expect.stringMatching(/^unknown No known engine/),
    ]);
    expect(exitCodeFor(none)).toBe(4);
    expect(of('load-balancer', await before({ objects: { '/api/v1/services': items(pending) } }))).toEqual([
      'unknown None of the 1 Services of type LoadBalancer has an address (for example, istio-system/ingress).',
    ]);
  });

  it.each([
    ['--enable-network-policy=true', 'ok DaemonSet kube-system/aws-node enforces NetworkPolicies.'],
    ['--enable-network-policy=false', expect.stringMatching(/^unknown/)],
  ])('the VPC CNI by its argument %s', async (argument, says) => {
    const node = {
      ...named('aws-node', 'kube-system'),
      spec: { template: { spec: { containers: [{ args: [argument] }] } } },
      status: { numberReady: 2 },
    };
    const objects = { '/apis/apps/v1/daemonsets': items(node) };
    expect(of('network-policy', await before({ objects }))).toEqual([says]);
  });

  it('what this user may not create', async () => {
    const isIn =
      (...namespaces: readonly string[]) =>
      (one: Readonly<Record<string, string>>) =>
        one.verb === 'create' && namespaces.includes(one.namespace ?? '');
    const rights = async (may: Given['may']) => of('rights', await before({ may: may! }));
    expect(await rights(isIn('meshpass-system', 'istio-system'))).toEqual([
      expect.stringMatching(
        /^failed This user cannot create clusterroles\.rbac\.authorization\.k8s\.io, .*policybindings\.admissionregistration\.k8s\.io\.$/,
      ),
    ]);
    expect(await rights(isIn('meshpass-system', ''))).toEqual([
      'failed This user cannot create roles.rbac.authorization.k8s.io, rolebindings.rbac.authorization.k8s.io in istio-system.',
    ]);
    expect(await rights(({ verb }) => verb === 'create')).toEqual([expect.stringMatching(/^unknown .*escalate/)]);
    expect(await rights(({ resource }) => resource !== '*')).toEqual([expect.stringMatching(/^ok /)]);
  });

  it('public names that do not resolve yet, and no other missing thing', async () => {
    const values = 'broker: {host: broker.invalid, service: {type: ClusterIP}}\nedge: {service: {type: NodePort}}\n';
    const findings = await before({ values, objects: { '/api/v1/services': items() } });
    expect(of('names', findings)).toEqual(['warning broker.invalid does not resolve here yet.']);
    expect(of('load-balancer', findings)).toEqual(['ok Not needed: the Services are of type ClusterIP and NodePort.']);
  });
});

it('refuses values of another shape, with their line', () => {
  const file = written('values.yaml', 'edge: {}\nnetworkPolicies:\n  enabled: "no"\n');
  expect(() => readChartValues(file)).toThrow(/^--values: .*values\.yaml:3:12 networkPolicies\.enabled: /);
});
