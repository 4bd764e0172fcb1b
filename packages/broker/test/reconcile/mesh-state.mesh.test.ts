import type { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConnectedMesh } from '../../src/mesh/reconcile/connect-mesh.ts';
import {
  GATEWAYS,
  items,
  type OnLab,
  onLab,
  ours,
  POLICIES,
  ROOT_POLICIES,
  sidecarHosts,
  until,
  untilReady,
} from '../harness/on-lab.ts';

const ORDERS_AND_LEDGER = `
trust:
  codespaces: {organization: acme}
grants:
  dev:
    who: [{user: ann}]
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*]}
      - {service: ledger-db.shop, port: 5432}
    kubernetes: {roles: [view@shop]}
  support:
    who: [{user: bob}]
    to: [{service: orders.shop, port: 8080}]
`;
/** Seconds: each watch waits up to ten between its tries, and an API server that starts refuses some. */
const FOLLOWED_AGAIN = 40;
const ONLY_SUPPORT = ORDERS_AND_LEDGER.replace(/ {2}dev:[\s\S]*? {2}support:/, '  support:');

let on: OnLab;
let mesh: ConnectedMesh;

beforeAll(async () => {
  on = await onLab(ORDERS_AND_LEDGER);
});
afterAll(() => on?.end());

const hosts = async (): Promise<unknown> => {
  const [gateway] = await items(on.lab, GATEWAYS);
  return (gateway?.spec as { servers: { hosts: string[] }[] } | undefined)?.servers[0]?.hosts;
};
const ORDERS = 'orders.shop.svc.cluster.local';
const LEDGER = 'ledger-db.shop.svc.cluster.local';
const hostsOf = (...grants: string[]) => mesh.state.services(grants).map(({ host, port }) => `${host}:${port}`);

describe('start', () => {
  it('is not ready until everything has been applied, and then it has', async () => {
    mesh = await on.connect({ resyncSeconds: 5 });
    expect(mesh.state.unready()).not.toEqual([]);
    expect(() => mesh.state.access()).toThrow('not in force yet');
    await untilReady(mesh);
    expect(await ours(on.lab, '/api/v1/namespaces')).toEqual(['meshpass-dev', 'meshpass-support']);
    expect(await ours(on.lab, ROOT_POLICIES)).toEqual(['meshpass-guard-dev', 'meshpass-guard-support']);
    expect(await hosts()).toEqual([LEDGER, ORDERS]);
    expect(await sidecarHosts(on.lab)).toEqual({
      'meshpass-dev': [`*/${LEDGER}`, `*/${ORDERS}`],
      'meshpass-support': [`*/${ORDERS}`],
    });
    expect(await ours(on.lab, '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings')).toEqual([
      'meshpass-dev.view',
    ]);
  });

  it('knows the services of grants, and their workloads', () => {
    expect(mesh.state.services(['dev', 'support'])).toMatchObject([
      {
        grant: 'dev',
        host: ORDERS,
        port: 8080,
        protocol: 'http',
        spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders'],
      },
      {
        grant: 'dev',
        host: LEDGER,
        port: 5432,
        protocol: 'tcp',
        spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/ledger-db'],
      },
      { grant: 'support', host: ORDERS, port: 8080 },
    ]);
    expect(mesh.state.roots()).toHaveLength(1);
  });
});

describe('the access file changes', () => {
  it('to one with errors: said by line, and nothing of it applied', async () => {
    const before = await items(on.lab, POLICIES);
    const version = mesh.state.version();
    await on.writeAccess(
      ORDERS_AND_LEDGER.replace('port: 5432', 'port: 5433').replace('ledger-db.shop', 'ledgerdb.shop'),
    );
    const [problem] = await until(mesh.state.problems, (problems) => problems.length > 0);
    expect(problem).toMatch(/access\.yaml:9:\d+ the mesh has no service ledgerdb\.shop/);
    await on.writeAccess(`${ORDERS_AND_LEDGER}    colour: blue\n`);
    await until(mesh.state.problems, ([one]) => /access\.yaml:14:5 unknown key "colour"/.test(one ?? ''));
    expect(mesh.state.version()).toBe(version);
    expect(mesh.state.unready()).toEqual([]);
    expect((await items(on.lab, POLICIES)).map(({ metadata }) => metadata)).toEqual(
      before.map(({ metadata }) => metadata),
    );
    expect(on.logged()).toContain('the access file was rejected; the previous one stays in force');
  });

  it('to one without a grant: its door shuts, its objects go, its identities are denied while they live', async () => {
    const heard: string[] = [];
    const cancel = mesh.state.onChange(() => heard.push(mesh.state.version()));
    await on.writeAccess(ONLY_SUPPORT);
    await until(
      () => mesh.state.access().grants.length,
      (grants) => grants === 1,
    );
    cancel();
    expect(heard).toEqual([mesh.state.version()]);
    expect(mesh.state.problems()).toEqual([]);
    expect(await hosts()).toEqual([ORDERS]);
    expect(await sidecarHosts(on.lab)).toEqual({ 'meshpass-support': [`*/${ORDERS}`] });
    expect(await ours(on.lab, ROOT_POLICIES)).toEqual(['meshpass-guard-support', 'meshpass-retired']);
    expect(await ours(on.lab, '/apis/rbac.authorization.k8s.io/v1/rolebindings')).toEqual([]);
    const retired = (await items(on.lab, ROOT_POLICIES)).find(({ metadata }) => metadata.name === 'meshpass-retired');
    expect(retired?.spec).toEqual({
      action: 'DENY',
      rules: [{ from: [{ source: { namespaces: ['meshpass-dev'] } }] }],
    });
    await until(
      () => ours(on.lab, '/api/v1/namespaces'),
      (names) => !names.includes('meshpass-dev'),
    );
  });

  it('back again, and everything is as it was', async () => {
    await on.writeAccess(ORDERS_AND_LEDGER);
    await until(
      () => mesh.state.access().grants.length,
      (grants) => grants === 2,
    );
    expect(await ours(on.lab, ROOT_POLICIES)).toEqual(['meshpass-guard-dev', 'meshpass-guard-support']);
    expect(await hosts()).toEqual([LEDGER, ORDERS]);
    expect(await ours(on.lab, '/api/v1/namespaces')).toEqual(['meshpass-dev', 'meshpass-support']);
  });

  it('only in its people: the broker writes nothing, and it is in force', async () => {
    const [before] = await items(on.lab, GATEWAYS);
    await on.writeAccess(ORDERS_AND_LEDGER.replace('user: bob', 'user: eve'));
    await until(
      () => mesh.state.access().grants.at(-1)?.who[0]?.user,
      (user) => user === 'eve',
    );
    expect((await items(on.lab, GATEWAYS))[0]?.metadata).toEqual(before?.metadata);
  });

  it('to one that binds a role which the broker may not grant: refused by Kubernetes, and the old one stays', async () => {
    const all = 'exec, attach, port-forward, proxy, secrets, token-requests, impersonate, workloads, policies';
    await on.writeAccess(ORDERS_AND_LEDGER.replace('[view@shop]', `[edit@shop], allow: [${all}]`));
    await until(on.logged, (logged) => /the access file was rejected.*meshpass-dev\.edit/.test(logged));
    expect(mesh.state.problems()).not.toEqual([]);
    expect(mesh.state.access().grants[0]?.kubernetesRoles[0]?.role).toBe('view');
    await on.lab.kubernetes.call('DELETE', `${ROOT_POLICIES}/meshpass-guard-support`);
    await until(
      () => ours(on.lab, ROOT_POLICIES),
      (names) => names.includes('meshpass-guard-support'),
    );
    await on.writeAccess(ORDERS_AND_LEDGER);
    await until(mesh.state.problems, (problems) => problems.length === 0);
  });
});

describe('the cluster changes', () => {
  it('repairs objects that were deleted or changed by hand', async () => {
    await on.lab.kubernetes.call('DELETE', `${ROOT_POLICIES}/meshpass-guard-dev`);
    await until(
      () => ours(on.lab, ROOT_POLICIES),
      (names) => names.includes('meshpass-guard-dev'),
    );
    const port = { number: 15443, name: 'tls-meshpass', protocol: 'TLS' };
    const wide = { spec: { servers: [{ port, tls: { mode: 'AUTO_PASSTHROUGH' }, hosts: ['*'] }] } };
    await on.lab.kubernetes.call('PATCH', `${GATEWAYS}/meshpass`, wide, 'application/merge-patch+json');
    await until(hosts, (now) => JSON.stringify(now) === JSON.stringify([LEDGER, ORDERS]));
  });

  it('a foreign ALLOW is noticed and answered, and forgotten when it is deleted', async () => {
    const policy = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'orders-callers', namespace: 'shop' },
      spec: {
        selector: { matchLabels: { app: 'orders' } },
        action: 'ALLOW',
        rules: [{ from: [{ source: { namespaces: ['shop'] } }] }],
      },
    };
    const before = await ours(on.lab, POLICIES);
    await on.lab.kubernetes.apply(policy);
    const during = await until(
      () => ours(on.lab, POLICIES),
      (names) => names.length > before.length,
    );
    expect(during.filter((name) => !before.includes(name)).every((name) => name.includes('.allow'))).toBe(true);
    await on.lab.kubernetes.remove(policy);
    await until(
      () => ours(on.lab, POLICIES),
      (names) => names.length === before.length,
    );
  });

  it('a granted Service that disappears is left out and reported; when it returns it is granted again', async () => {
    const path = '/api/v1/namespaces/shop/services/ledger-db';
    const { metadata, spec } = (await on.lab.kubernetes.call('GET', path)) as { metadata: object; spec: object };
    await on.lab.kubernetes.call('DELETE', path);
    await until(
      () => hostsOf('dev'),
      (found) => found.length === 1,
    );
    expect(await hosts()).toEqual([ORDERS]);
    expect(mesh.state.problems().join()).toContain('the mesh has no service ledger-db.shop');
    await on.lab.kubernetes.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'ledger-db', namespace: 'shop' },
      spec: { ...spec, resourceVersion: undefined },
    });
    expect(metadata).toBeDefined();
    const offered = () => hostsOf('dev').length;
    await until(offered, (count) => count === 2);
    expect(await hosts()).toEqual([LEDGER, ORDERS]);
    expect(mesh.state.problems()).toEqual([]);
  });

  it('is still followed after Kubernetes was killed and returned', async () => {
    await on.lab.kill('kube-apiserver');
    await until(on.logged, (logged) => logged.includes('a cluster watch was interrupted'));
    expect(mesh.state.unready()).toEqual([]);
    expect(hostsOf('support')).toEqual([`${ORDERS}:8080`]);
    await on.lab.restart('kube-apiserver');
    await on.lab.restart('kube-controller-manager'); // otherwise it takes minutes to check again
    await on.writeAccess(
      ORDERS_AND_LEDGER.replace('{service: orders.shop, port: 8080}', '{service: orders.shop, port: 9090}'),
    );
    const offered = () => hostsOf('support')[0];
    await until(offered, (host) => host === `${ORDERS}:9090`, FOLLOWED_AGAIN);
    const before = mesh.state.version();
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'orders-2', namespace: 'shop', labels: { app: 'orders' } },
      spec: { serviceAccountName: 'orders-next', containers: [{ name: 'app', image: 'lab' }] },
    };
    try {
      await on.lab.kubernetes.apply(pod);
      await until(mesh.state.version, (version) => version !== before, FOLLOWED_AGAIN);
      expect(mesh.state.services(['support'])[0]?.spiffe_ids).toHaveLength(2);
    } finally {
      await on.lab.kubernetes.remove(pod);
      await on.lab.kubernetes
        .call('DELETE', '/api/v1/namespaces/shop/pods/orders-2?gracePeriodSeconds=0')
        .catch((error: MeshpassError) => error);
    }
    await until(mesh.state.version, (version) => version === before);
  });
});

describe('a start that cannot succeed yet', () => {
  it('reports why, applies nothing, and becomes ready when the cause is gone', async () => {
    mesh.close();
    await on.writeAccess(ORDERS_AND_LEDGER.replace('orders.shop', 'refunds.shop'));
    const policies = (await items(on.lab, POLICIES)).map(({ metadata }) => metadata);
    mesh = await on.connect();
    await until(mesh.state.unready, (reasons) =>
      reasons.some((reason) => reason.includes('the mesh has no service refunds.shop')),
    );
    expect((await items(on.lab, POLICIES)).map(({ metadata }) => metadata)).toEqual(policies);
    await on.lab.kubernetes.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'refunds', namespace: 'shop' },
      spec: { selector: { app: 'orders' }, ports: [{ name: 'http', port: 8080 }] },
    });
    await untilReady(mesh);
    await on.lab.kubernetes.call('DELETE', '/api/v1/namespaces/shop/services/refunds');
  });

  it('reports objects that admission refuses', async () => {
    mesh.close();
    await on.writeAccess(ORDERS_AND_LEDGER.replace('ledger-db.shop', 'salaries.payroll'));
    await on.lab.kubernetes.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'payroll' } });
    await on.lab.kubernetes.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'salaries', namespace: 'payroll' },
      spec: { selector: { app: 'salaries' }, ports: [{ name: 'tcp', port: 5432 }] },
    });
    mesh = await on.connect();
    await until(mesh.state.unready, ([reason]) => /only for services that may be granted/.test(reason ?? ''));
    await on.lab.kubernetes.call('DELETE', '/api/v1/namespaces/payroll');
  });
});
