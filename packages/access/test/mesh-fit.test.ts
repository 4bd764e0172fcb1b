import type { MeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { checkMesh, parseAccess, reachableServices } from '../src/index.ts';
import { EXAMPLE, fileWith, LEDGER, MESH, ORDERS } from './shop.ts';

function refusal(text: string, mesh: Mesh): MeshpassError | undefined {
  try {
    checkMesh(parseAccess(text, 'access.yaml'), mesh);
    return undefined;
  } catch (error) {
    return error as MeshpassError;
  }
}

describe('checkMesh', () => {
  it('takes a file whose every port is there', () => {
    expect(refusal(EXAMPLE, MESH)).toBeUndefined();
  });

  const service = (parts: Partial<typeof ORDERS>): Mesh => ({ ...MESH, services: [{ ...ORDERS, ...parts }] });
  it.each<readonly [string, string, Mesh, string, RegExp]>([
    [
      'a service that is not there',
      '{service: order.shop, port: 8080}',
      MESH,
      'access_service_unknown',
      /:10:10 the mesh has no service order\.shop \(did you mean "orders\.shop"\?\)$/,
    ],
    [
      'a service of another namespace',
      '{service: orders.dev, port: 8080}',
      MESH,
      'access_service_unknown',
      /no service orders\.dev/,
    ],
    [
      'a port that is not there',
      '{service: orders.shop, port: 80}',
      MESH,
      'access_port_unknown',
      /:10:10 orders\.shop has no port 80: it has 8080, 9090$/,
    ],
    [
      'a port without a declared protocol',
      '{service: orders.shop, port: 9090}',
      MESH,
      'access_port_undeclared',
      /orders\.shop:9090 does not declare a protocol.*set "appProtocol"/,
    ],
    [
      'operations on a TCP port',
      '{service: ledger-db.shop, port: 5432, allow: [GET /]}',
      MESH,
      'access_file_invalid',
      /is TCP.*remove "allow"/,
    ],
    [
      'a service of more ServiceAccounts than an agent takes in an answer',
      '{service: orders.shop, port: 8080}',
      service({
        workloads: Array.from({ length: 101 }, (_, n) => ({ labels: { app: 'orders' }, serviceAccount: `o-${n}` })),
      }),
      'access_file_invalid',
      /:10:10 orders\.shop runs under 101 ServiceAccounts, but an agent accepts at most 100 per service/,
    ],
    [
      'claims that are too long to be told',
      `{service: orders.shop, port: 8080, allow: [GET /], require: {department: [${Array.from({ length: 40 }, (_, n) => `"${'d'.repeat(110)}${n}"`).join(', ')}]}}`,
      MESH,
      'access_file_invalid',
      /:10:10 orders\.shop has an operation with \d+ characters including its claims, but an agent accepts at most 4096/,
    ],
    [
      'istiod',
      '{service: istiod.istio-system, port: 15012}',
      service({ name: 'istiod', namespace: 'istio-system' }),
      'access_file_invalid',
      /belongs to the mesh itself/,
    ],
    [
      'the mesh gateway',
      '{service: gw.meshpass-system, port: 8080}',
      service({ name: 'gw', namespace: 'meshpass-system' }),
      'access_file_invalid',
      /belongs to the mesh itself/,
    ],
    [
      'a service in the namespace of another grant',
      '{service: holder.meshpass-other, port: 8080}',
      service({ name: 'holder', namespace: 'meshpass-other' }),
      'access_file_invalid',
      /is in a Meshpass namespace, and its services cannot be granted/,
    ],
    [
      'a service that selects every pod of its namespace',
      '{service: orders.shop, port: 8080}',
      service({ selector: {} }),
      'access_file_invalid',
      /has no label selector/,
    ],
    [
      'a grant whose namespace runs services',
      '{service: orders.meshpass-dev, port: 8080}',
      service({ namespace: 'meshpass-dev' }),
      'access_file_invalid',
      /:8:3 namespace meshpass-dev already runs services/,
    ],
    [
      'a grant whose namespace is the root namespace',
      '{service: orders.shop, port: 8080}',
      { ...MESH, rootNamespace: 'meshpass-dev' },
      'access_file_invalid',
      /:8:3 namespace meshpass-dev belongs to the mesh: choose a different name/,
    ],
  ])('refuses %s', (_, target, mesh, code, message) => {
    const error = refusal(fileWith({ to: `[${target}]` }), mesh);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('refuses roles where the keys of the mesh are', () => {
    const error = refusal(
      fileWith({ more: 'kubernetes: {roles: [view@istio-system, edit@shop, view@meshpass-system]}' }),
      MESH,
    );
    expect(error?.message.match(/grants cannot bind roles there/g)).toHaveLength(2);
  });

  it.each([
    ['of another grant', 'view@meshpass-other'],
    ['of its own', 'view@meshpass-dev'],
    ['of Kubernetes', '{role: view, namespace: kube-public}'],
  ])('refuses roles in a namespace %s', (_, role) => {
    const error = refusal(fileWith({ more: `kubernetes: {roles: [${role}]}` }), MESH);
    expect(error).toMatchObject({
      code: 'access_file_invalid',
      message: expect.stringMatching(/belongs to (Meshpass|Kubernetes), so grants cannot bind roles there/),
    });
  });

  it('lists everything at once', () => {
    const error = refusal(EXAMPLE, { ...MESH, services: [] });
    expect(error?.message).toBe(
      'access.yaml:13:9 the mesh has no service orders.shop\naccess.yaml:14:9 the mesh has no service ledger-db.shop',
    );
  });
});

describe('reachableServices', () => {
  const access = parseAccess(EXAMPLE, 'access.yaml');

  it('tells names, protocol, operations and who may answer', () => {
    expect(reachableServices(access, MESH, ['payments-dev'])).toEqual([
      {
        grant: 'payments-dev',
        host: 'orders.shop.svc.cluster.local',
        port: 8080,
        address: '127.102.178.226',
        aliases: ['orders.shop.svc', 'orders.shop'],
        protocol: 'http',
        allow: ['GET /orders/*', 'POST /refunds'],
        spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders', 'spiffe://cluster.local/ns/shop/sa/orders-next'],
      },
      {
        grant: 'payments-dev',
        host: 'ledger-db.shop.svc.cluster.local',
        port: 5432,
        address: '127.80.157.106',
        aliases: ['ledger-db.shop.svc', 'ledger-db.shop'],
        protocol: 'tcp',
        spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/ledger-db'],
      },
    ]);
  });

  it('tells what is demanded and what is denied beside it, in words', () => {
    const told = (target: string) =>
      reachableServices(parseAccess(fileWith({ to: `[${target}]` }), 'f'), MESH, ['dev'])[0]?.allow;
    const refunds = '{operation: POST /refunds, require: {department: [finance, audit]}}';
    expect(told(`{service: orders.shop, port: 8080, allow: [GET /a, ${refunds}], deny: [GET /a/b]}`)).toEqual([
      'GET /a',
      'POST /refunds (with department finance or audit)',
      'but not GET /a/b',
    ]);
    expect(told('{service: orders.shop, port: 8080, require: {level: 3}}')).toEqual(['* /* (with level 3)']);
    expect(told('{service: orders.shop, port: 8080}')).toBeUndefined();
  });

  it('tells nothing of grants that were not asked for, or are not there', () => {
    expect(reachableServices(access, MESH, [])).toEqual([]);
    expect(reachableServices(access, MESH, ['payments', 'constructor'])).toEqual([]);
  });

  it('leaves out what the mesh has no more, or declares no more', () => {
    const undeclared = { ...ORDERS, ports: ORDERS.ports.map((port) => ({ ...port, protocol: 'undeclared' as const })) };
    const hosts = (mesh: Mesh) => reachableServices(access, mesh, ['payments-dev']).map(({ host }) => host);
    expect(hosts({ ...MESH, services: [LEDGER, undeclared] })).toEqual(['ledger-db.shop.svc.cluster.local']);
    expect(hosts({ ...MESH, services: [] })).toEqual([]);
  });

  it('accepts no caller if no workload runs', () => {
    const idle = { ...MESH, services: [{ ...LEDGER, workloads: [] }] };
    expect(reachableServices(access, idle, ['payments-dev'])[0]?.spiffe_ids).toEqual([]);
  });
});

it('refuses more operations of one port than an agent is told', () => {
  const access = parseAccess(fileWith({ to: '[{service: orders.shop, port: 8080, allow: [GET /]}]' }), 'access.yaml');
  const [dev] = access.grants;
  const [target] = dev!.to;
  const many = (count: number) => ({
    ...access,
    grants: [{ ...dev!, to: [{ ...target!, allow: Array.from({ length: count }, () => target!.allow![0]!) }] }],
  });
  expect(() => checkMesh(many(501), MESH)).toThrow(/^access\.yaml:10:10 orders\.shop has 501 allowed operations/);
  expect(() => checkMesh(many(500), MESH)).not.toThrow();
});
