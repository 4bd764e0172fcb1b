/** Meaning of `to` entries and roles in a mesh whose services and namespaces come and go, and the objects compiled from them. */

import type { Mesh, MeshService } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { MAX_PORTS } from '../src/compile/resolve.ts';
import { compile, leftOut, namespacesGranted, parseAccess, reachableServices } from '../src/index.ts';
import type { Manifest } from '../src/model.ts';
import { fileWith, LEDGER, MESH, ORDERS, onPort, TOKENS } from './shop.ts';

const service = (name: string, namespace: string, parts: Partial<MeshService> = {}): MeshService => ({
  ...ORDERS,
  name,
  namespace,
  ports: [{ port: 8080, targetPort: 8080, name: 'http', protocol: 'http' }],
  ...parts,
});
const namespaces = ['shop', 'preview-1', 'preview-2', 'prod', 'istio-system', 'kube-system', 'meshpass-system'].map(
  (name) => ({ name, labels: { team: name.startsWith('preview') || name === 'prod' ? 'payments' : 'other' } }),
);
const mesh: Mesh = {
  ...MESH,
  namespaces: [...namespaces, { name: 'meshpass-x', labels: { team: 'payments' } }],
  services: [
    ...[ORDERS, LEDGER],
    service('orders', 'preview-1', { labels: { app: 'orders', tier: 'front' } }),
    service('orders', 'preview-2', { labels: { app: 'orders' } }),
    service('orders', 'prod', { labels: { app: 'orders' } }),
    service('billing', 'prod', { labels: { app: 'billing' } }),
    service('orders', 'unlisted', { labels: { app: 'orders' } }),
    ...['istio-system', 'kube-system', 'meshpass-system'].map((one) => service('orders', one)),
  ],
};
const access = (to: string, more?: string) =>
  parseAccess(fileWith({ to: `[${to}]`, ...(more !== undefined && { more }) }), 'access.yaml');
const reached = (to: string, within: Mesh = mesh) =>
  reachableServices(access(to), within, ['dev']).map(
    ({ host, port }) => `${host.replace('.svc.cluster.local', '')}:${port}`,
  );
const problems = (to: string, within: Mesh = mesh) =>
  leftOut(access(to), within).map(({ code, message }) => `${code} ${message}`);

describe('an entry of to', () => {
  it.each([
    ['a host', '{host: orders.prod.svc.cluster.local, port: 8080}', ['orders.prod:8080']],
    ['a port by name', '{service: orders.prod, port: http}', ['orders.prod:8080']],
    ['a namespace', '{namespace: prod, port: 8080}', ['billing.prod:8080', 'orders.prod:8080']],
    ['namespaces by pattern', '{namespace: preview-*, port: 8080}', ['orders.preview-1:8080', 'orders.preview-2:8080']],
    [
      'namespaces by label',
      '{service: orders, namespace_labels: {team: payments}, port: 8080}',
      ['orders.preview-1:8080', 'orders.preview-2:8080', 'orders.prod:8080'],
    ],
    ['both, where both hold', '{namespace: p*, namespace_labels: {team: other}, port: 8080}', []],
    [
      'services by label',
      '{namespace_labels: {team: payments}, labels: {app: orders, tier: front}, port: 8080}',
      ['orders.preview-1:8080'],
    ],
    ['only services with such a port', '{namespace: shop, port: 5432}', ['ledger-db.shop:5432']],
    ['nothing where nothing is', '{namespace: nowhere, port: 8080}', []],
  ])('means %s', (_, to, expected) => {
    expect(reached(to).sort()).toEqual(expected);
    expect(problems(to)).toEqual([]);
  });

  it('follows services and namespaces as they come and go', () => {
    const to = '{service: orders, namespace_labels: {team: payments}, port: 8080}';
    const without = { ...mesh, services: mesh.services.filter(({ namespace }) => namespace !== 'preview-1') };
    expect(reached(to, without).sort()).toEqual(['orders.preview-2:8080', 'orders.prod:8080']);
    const relabelled = { ...mesh, namespaces: mesh.namespaces!.map((one) => ({ ...one, labels: {} })) };
    expect(reached(to, relabelled)).toEqual([]);
    expect(namespacesGranted(access(to), mesh)).toEqual(['preview-1', 'preview-2', 'prod']);
  });

  it('selects nothing where namespaces are not known', () => {
    const { namespaces: _, ...unknown } = mesh;
    expect(reached('{namespace: prod, port: 8080}', unknown)).toEqual([]);
    expect(reached('{service: orders.prod, port: 8080}', unknown)).toEqual(['orders.prod:8080']);
  });

  it("never selects what is the mesh's, Kubernetes' or a grant's own, by any label or pattern", () => {
    const all = { ...mesh, namespaces: mesh.namespaces!.map((one) => ({ ...one, labels: { any: 'label' } })) };
    const found = reached('{service: orders, namespace_labels: {any: label}, port: 8080}', all);
    expect(found).toContain('orders.prod:8080');
    expect(found.filter((one) => /system/.test(one))).toEqual([]);
    expect(reached('{namespace: i*, port: 8080}, {namespace: k*, port: 8080}, {namespace: m*, port: 8080}')).toEqual(
      [],
    );
  });

  it('leaves out, and says, what it selects and cannot be granted', () => {
    const undeclared = service('orders', 'preview-1', {
      ports: ORDERS.ports.map((port) => ({ ...port, protocol: 'undeclared' as const })),
    });
    const changed = {
      ...mesh,
      services: [undeclared, service('b', 'preview-2', { selector: {} }), service('c', 'preview-2')],
    };
    const to = '{namespace: preview-*, port: 8080}';
    expect(reached(to, changed)).toEqual(['c.preview-2:8080']);
    expect(problems(to, changed)).toEqual([
      expect.stringMatching(/^access_port_undeclared orders\.preview-1:8080 does not declare a protocol/),
      expect.stringMatching(/^access_file_invalid b\.preview-2 has no label selector/),
    ]);
    expect(() => compile(access(to), changed, TOKENS)).not.toThrow();
  });

  it('that stands first decides for a port that several mean', () => {
    const exact = '{service: orders.prod, port: 8080, allow: [GET /a]}';
    const first = reachableServices(access(`${exact}, {namespace: prod, port: 8080}`), mesh, ['dev']);
    expect(first.map(({ host, allow }) => [host.split('.')[0], allow])).toEqual([
      ['orders', ['GET /a']],
      ['billing', undefined],
    ]);
    const last = reachableServices(access(`{namespace: prod, port: 8080}, ${exact}`), mesh, ['dev']);
    expect(last.map(({ allow }) => allow)).toEqual([undefined, undefined]);
  });

  it('grants no more ports than can be borne, and says so', () => {
    const many = Array.from({ length: MAX_PORTS + 5 }, (_, index) => service(`s${index}`, 'prod'));
    expect(reached('{namespace: prod, port: 8080}', { ...mesh, services: many })).toHaveLength(MAX_PORTS);
    expect(problems('{namespace: prod, port: 8080}', { ...mesh, services: many })).toEqual([
      expect.stringMatching(/selects 1005 ports, but only the first 1000 are granted/),
    ]);
  });

  it.each([
    [
      'a host of another cluster',
      '{host: orders.prod.svc.other.example, port: 8080}',
      /hosts in this cluster end in \.svc\.cluster\.local$/,
    ],
    [
      'a port by a wrong name',
      '{service: orders.prod, port: htp}',
      /orders\.prod has no port htp: it has http \(did you mean "http"\?\)$/,
    ],
    [
      'the mesh gateway by host',
      '{host: orders.meshpass-system.svc.cluster.local, port: 8080}',
      /belongs to the mesh itself/,
    ],
    [
      'gRPC on HTTP/1.1',
      '{service: orders.prod, port: 8080, grpc: [a.B/C]}',
      /:10:10 orders\.prod:8080 speaks HTTP\/1\.1, but gRPC requires HTTP\/2: set "appProtocol: grpc"/,
    ],
    ['gRPC on TCP', '{service: ledger-db.shop, port: 5432, grpc: [a.B/C]}', /is TCP.*remove "grpc"$/],
    ['what is denied on TCP', '{service: ledger-db.shop, port: 5432, deny: [GET /*]}', /is TCP.*remove "deny"$/],
    ['claims on TCP', '{service: ledger-db.shop, port: 5432, require: {a: b}}', /is TCP.*remove "require"$/],
  ])('is refused by name: %s', (_, to, message) => {
    expect(() => compile(access(to), mesh, TOKENS)).toThrow(message);
  });
});

describe('roles', () => {
  const bindings = (roles: string, within: Mesh = mesh) =>
    compile(access('{service: orders.prod, port: 8080}', `kubernetes: {roles: [${roles}]}`), within, TOKENS)
      .filter(({ kind }) => kind === 'RoleBinding')
      .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);

  it('are bound in every namespace that is selected, and once', () => {
    expect(bindings('{role: view, namespace_labels: {team: payments}}, view@prod')).toEqual([
      'preview-1/meshpass-dev.view',
      'preview-2/meshpass-dev.view',
      'prod/meshpass-dev.view',
    ]);
    expect(bindings('{role: view, namespace: preview-*}, view@shop')).toHaveLength(3);
  });

  it("are bound nowhere that is the mesh's own", () => {
    const all = { ...mesh, namespaces: mesh.namespaces!.map((one) => ({ ...one, labels: { any: 'label' } })) };
    expect(
      bindings('{role: view, namespace_labels: {any: label}}', all).filter((one) => /system|meshpass-x/.test(one)),
    ).toEqual([]);
  });
});

describe('the rules of an HTTP port', () => {
  const rules = (to: string) => {
    const found = compile(access(to), mesh, TOKENS).find(
      ({ metadata }) => metadata.name === 'meshpass-dev.orders.8080',
    );
    return (found as Manifest & { spec: { rules: unknown[] } }).spec.rules;
  };
  const from = [{ source: { namespaces: ['meshpass-dev'] } }];
  const sni = onPort(8080, 'orders.prod.svc.cluster.local');

  it('refuse denied operations, even if the whole port is granted', () => {
    expect(rules('{service: orders.prod, port: 8080, deny: [TRACE /*, DELETE /*]}')).toHaveLength(3);
    expect(rules('{service: orders.prod, port: 8080, deny: [TRACE /*, DELETE /*]}').at(-1)).toEqual({
      from,
      to: [{ operation: { methods: ['DELETE'], paths: ['/*'] } }, { operation: { methods: ['TRACE'], paths: ['/*'] } }],
      when: sni,
    });
  });

  it('refuse calls without a demanded claim: of the whole port, and of one operation', () => {
    const found = rules(
      '{service: orders.prod, port: 8080, require: {team: b, dept: [z, a]}, allow: [GET /a, {operation: POST /b, require: {groups: sre}}]}',
    );
    expect(found.slice(-3)).toEqual([
      { from, when: [...sni, { key: 'request.auth.claims[attested][dept]', notValues: ['a', 'z'] }] },
      { from, when: [...sni, { key: 'request.auth.claims[attested][team]', notValues: ['b'] }] },
      {
        from,
        to: [{ operation: { methods: ['POST'], paths: ['/b'] } }],
        when: [...sni, { key: 'request.auth.claims[attested][groups]', notValues: ['sre'] }],
      },
    ]);
  });

  it('grant templates and gRPC methods as what Istio knows them by', () => {
    const grpc = {
      ...mesh,
      services: [
        service('orders', 'prod', { ports: [{ port: 8080, targetPort: 8080, name: 'grpc', protocol: 'http2' }] }),
      ],
    };
    const manifests = compile(
      access(
        '{service: orders.prod, port: 8080, grpc: [acme.v1.Orders/Get, acme.v1.Refunds/*], allow: ["GET /users/{*}/x"]}',
      ),
      grpc,
      TOKENS,
    );
    const found = manifests.find(({ metadata }) => metadata.name === 'meshpass-dev.orders.8080') as Manifest & {
      spec: { rules: unknown[] };
    };
    expect(found.spec.rules.slice(2)).toEqual([
      { from, to: [{ operation: { notMethods: ['GET', 'POST'] } }], when: sni },
      { from, to: [{ operation: { methods: ['GET'], notPaths: ['/users/{*}/x'] } }], when: sni },
      {
        from,
        to: [{ operation: { methods: ['POST'], notPaths: ['/acme.v1.Orders/Get', '/acme.v1.Refunds/*'] } }],
        when: sni,
      },
    ]);
  });
});
