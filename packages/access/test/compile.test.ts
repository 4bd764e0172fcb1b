import type { ForeignPolicy, Mesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compile, formatManifests, parseAccess, sourceOf } from '../src/index.ts';
import type { Manifest } from '../src/model.ts';
import { EXAMPLE, fileWith, MESH, ON_ORDERS, ORDERS, TOKENS } from './shop.ts';

const access = parseAccess(EXAMPLE, 'access.yaml');
const compiled = (mesh: Mesh = MESH, text = EXAMPLE) => compile(parseAccess(text, 'access.yaml'), mesh, TOKENS);
const named = (manifests: readonly Manifest[], name: string) =>
  manifests.find(({ metadata }) => metadata.name === name);
const spec = (manifest: Manifest | undefined) =>
  manifest?.spec as { readonly [member: string]: unknown; readonly rules: readonly unknown[] };

describe('compile', () => {
  it('gives these objects in this order: what recognises and refuses before what lets in', () => {
    expect(compiled().map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name])).toEqual([
      ['Namespace', undefined, 'meshpass-payments-dev'],
      ['RoleBinding', 'shop', 'meshpass-payments-dev.view'],
      ['RequestAuthentication', 'istio-system', 'meshpass'],
      ['AuthorizationPolicy', 'istio-system', 'meshpass-guard-payments-dev'],
      ['AuthorizationPolicy', 'shop', 'meshpass-payments-dev.orders.8080'],
      ['Sidecar', 'meshpass-payments-dev', 'meshpass'],
      ['Gateway', 'meshpass-system', 'meshpass'],
    ]);
  });

  it('labels every object as its own, and tells where the file asks for it without writing that into the object', () => {
    const manifests = compiled();
    for (const { metadata } of manifests) expect(metadata.labels['app.kubernetes.io/managed-by']).toBe('meshpass');
    expect(manifests.map((one) => sourceOf(parseAccess(EXAMPLE, 'access.yaml'), one))).toEqual([
      'access.yaml:8',
      'access.yaml:8',
      'access.yaml',
      'access.yaml:8',
      'access.yaml:8',
      'access.yaml:8',
      'access.yaml',
    ]);
    expect(manifests.flatMap(({ metadata }) => Object.keys(metadata.annotations ?? {}))).toEqual([]);
    expect(named(manifests, 'meshpass-payments-dev.orders.8080')?.metadata.labels['meshpass.dev/grant']).toBe(
      'payments-dev',
    );
  });

  it('gives the same objects for a file with a comment, another name, or another order', () => {
    const [first, second] = [
      '{service: orders.shop, port: 8080, allow: [GET /a, {operation: POST /b, require: {x: y}}, {operation: POST /c, require: {x: [y, z]}}], deny: [GET /a/x, GET /a/y]}',
      '{service: ledger-db.shop, port: 5432}',
    ];
    const other =
      '{service: orders.shop, port: 8080, allow: [{operation: POST /c, require: {x: [z, y]}}, {operation: POST /b, require: {x: y}}, GET /a], deny: [GET /a/y, GET /a/x]}';
    const file = (...to: readonly string[]) =>
      fileWith({ to: `[${to.join(', ')}]`, more: 'kubernetes: {roles: [view@shop]}' });
    const before = compiled(MESH, file(first!, second!));
    const after = compile(parseAccess(`# a comment\n\n${file(second!, other)}`, 'renamed.yaml'), MESH, TOKENS);
    expect(after).toEqual(before);
  });

  it('binds the role to the ServiceAccounts of the grant and to no one else', () => {
    expect(named(compiled(), 'meshpass-payments-dev.view')).toMatchObject({
      roleRef: { kind: 'ClusterRole', name: 'view' },
      subjects: [{ kind: 'Group', name: 'system:serviceaccounts:meshpass-payments-dev' }],
    });
  });

  it('has sidecars read the identity token from its own header, with inline keys', () => {
    const manifest = compiled().find(({ kind }) => kind === 'RequestAuthentication');
    expect(manifest?.spec).toEqual({
      jwtRules: [
        {
          issuer: 'https://broker.acme.example',
          audiences: ['acme-mesh'],
          jwks: TOKENS.jwks,
          fromHeaders: [{ name: 'x-meshpass-token' }],
          forwardOriginalToken: false,
          outputClaimToHeaders: [
            { header: 'x-meshpass-sub', claim: 'sub' },
            { header: 'x-meshpass-login', claim: 'login' },
            { header: 'x-meshpass-session', claim: 'sid' },
            { header: 'x-meshpass-workspace', claim: 'workspace' },
          ],
        },
      ],
    });
  });

  it('has istiod configure the workspaces of a grant for its hosts, with the VirtualServices of every namespace', () => {
    const manifest = compiled().find(({ kind }) => kind === 'Sidecar');
    expect(manifest?.spec).toEqual({
      egress: [{ hosts: ['*/ledger-db.shop.svc.cluster.local', '*/orders.shop.svc.cluster.local'] }],
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    });
  });

  it('shows nothing to the workspaces of a grant of nothing, which without an egress listener would see everything', () => {
    const manifests = compile(access, { ...MESH, services: [] }, TOKENS, { missing: 'leave-out' });
    expect(spec(manifests.find(({ kind }) => kind === 'Sidecar'))).toMatchObject({ egress: [{ hosts: ['~/*'] }] });
  });

  it('opens the gateway for exactly the granted hosts, by full name', () => {
    expect(
      spec(named(compiled(), 'meshpass')?.kind === 'Gateway' ? named(compiled(), 'meshpass') : compiled().at(-1)),
    ).toEqual({
      selector: { istio: 'meshpass-gateway' },
      servers: [
        {
          port: { number: 15443, name: 'tls-meshpass', protocol: 'TLS' },
          tls: { mode: 'AUTO_PASSTHROUGH' },
          hosts: ['ledger-db.shop.svc.cluster.local', 'orders.shop.svc.cluster.local'],
        },
      ],
    });
  });

  it('opens no gateway where nothing is granted', () => {
    const manifests = compiled(MESH, 'trust: {}\ngrants: {}\n');
    expect(manifests.map(({ kind }) => kind)).toEqual(['RequestAuthentication']);
  });

  it('guards by source namespace and SNI alone, so that the rules mean the same on every port', () => {
    const from = [{ source: { namespaces: ['meshpass-payments-dev'] } }];
    const denied = (condition: object) => ({ from, when: [{ key: 'connection.sni', ...condition }] });
    expect(spec(named(compiled(), 'meshpass-guard-payments-dev'))).toEqual({
      action: 'DENY',
      rules: [
        denied({ notValues: ['outbound_.5432_.*', 'outbound_.8080_.*'] }),
        denied({ values: ['outbound_.5432_.*'], notValues: ['*_.ledger-db.shop.svc.cluster.local'] }),
        denied({ values: ['outbound_.8080_.*'], notValues: ['*_.orders.shop.svc.cluster.local'] }),
      ],
    });
  });

  it('refuses on the HTTP port whatever has no token of ours, not this grant in it, or is no granted operation', () => {
    const from = [{ source: { namespaces: ['meshpass-payments-dev'] } }];
    expect(spec(named(compiled(), 'meshpass-payments-dev.orders.8080'))).toEqual({
      selector: { matchLabels: { app: 'orders' } },
      action: 'DENY',
      rules: [
        {
          from: [
            {
              source: {
                namespaces: ['meshpass-payments-dev'],
                notRequestPrincipals: ['https://broker.acme.example/*'],
              },
            },
          ],
          when: ON_ORDERS,
        },
        { from, when: [...ON_ORDERS, { key: 'request.auth.claims[grants]', notValues: ['payments-dev'] }] },
        { from, to: [{ operation: { notMethods: ['GET', 'POST'] } }], when: ON_ORDERS },
        { from, to: [{ operation: { methods: ['GET'], notPaths: ['/orders/*'] } }], when: ON_ORDERS },
        { from, to: [{ operation: { methods: ['POST'], notPaths: ['/refunds'] } }], when: ON_ORDERS },
      ],
    });
  });

  it('demands the token on an HTTP port that is granted whole', () => {
    const policy = spec(named(compiled(MESH, fileWith({})), 'meshpass-dev.orders.8080'));
    expect(policy.rules).toHaveLength(2);
    expect(JSON.stringify(policy.rules)).not.toContain('operation');
  });

  it('writes nothing of HTTP for a TCP port, where a DENY rule would lose it and deny all', () => {
    const manifests = compiled(MESH, fileWith({ to: '[{service: ledger-db.shop, port: 5432}]' }));
    expect(manifests.map(({ metadata }) => metadata.name)).toEqual([
      'meshpass-dev',
      'meshpass',
      'meshpass-guard-dev',
      'meshpass',
      'meshpass',
    ]);
    expect(JSON.stringify(manifests.filter(({ kind }) => kind === 'AuthorizationPolicy'))).not.toMatch(
      /request|operation/i,
    );
  });

  it('binds every DENY to a grant namespace, so that no other traffic can feel it', () => {
    const denies = compiled().filter((manifest) => spec(manifest)?.action === 'DENY');
    expect(denies).toHaveLength(2);
    for (const deny of denies) {
      for (const rule of spec(deny).rules as {
        readonly from: readonly { readonly source: { readonly namespaces: unknown } }[];
      }[]) {
        expect(rule.from.map(({ source }) => source.namespaces)).toEqual([['meshpass-payments-dev']]);
      }
    }
  });

  it('gives the same text for the same file and mesh, in whatever order the mesh is listed', () => {
    const foreignPolicies: ForeignPolicy[] = [
      { name: 'a', namespace: 'shop', action: 'ALLOW', selector: { version: 'v1', app: 'orders' } },
      { name: 'b', namespace: 'shop', action: 'ALLOW', selector: { version: 'v2' } },
    ];
    const one = compiled({ ...MESH, foreignPolicies });
    const other = compiled({
      ...MESH,
      services: MESH.services.toReversed(),
      foreignPolicies: foreignPolicies.toReversed(),
    });
    expect(formatManifests(other)).toBe(formatManifests(one));
    expect(formatManifests(one)).toMatch(/^---\napiVersion: v1\nkind: Namespace\n/);
    expect(formatManifests(one)).not.toMatch(/[&*]a\d/);
  });

  it('keeps the names of objects apart whose parts look alike', () => {
    const service = (name: string) => ({ ...ORDERS, name, selector: { app: name } });
    const text = `trust: {codespaces: {organization: acme}}\ngrants:\n  a: {who: [{user: x}], to: [{service: b-c.shop, port: 8080}]}\n  a-b: {who: [{user: x}], to: [{service: c.shop, port: 8080}]}\n`;
    const names = compiled({ ...MESH, services: [service('b-c'), service('c')] }, text).map(
      ({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`,
    );
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('when the mesh changes under a file in force', () => {
  it('leaves out deleted services and continues to deny them', () => {
    const manifests = compile(access, { ...MESH, services: [ORDERS] }, TOKENS, { missing: 'leave-out' });
    expect(JSON.stringify(manifests)).not.toContain('ledger-db');
    const from = [{ source: { namespaces: ['meshpass-payments-dev'] } }];
    const [names] = ON_ORDERS.map(({ values }) => values);
    expect(spec(named(manifests, 'meshpass-guard-payments-dev')).rules).toEqual([
      { from, when: [{ key: 'connection.sni', notValues: names }] },
      {
        from,
        when: [{ key: 'connection.sni', values: names, notValues: ['*_.orders.shop.svc.cluster.local'] }],
      },
    ]);
  });

  it('denies everything of a grant that has nothing left', () => {
    const manifests = compile(access, { ...MESH, services: [] }, TOKENS, { missing: 'leave-out' });
    expect(manifests.map(({ kind }) => kind)).toEqual([
      'Namespace',
      'RoleBinding',
      'RequestAuthentication',
      'AuthorizationPolicy',
      'Sidecar',
    ]);
    expect(spec(named(manifests, 'meshpass-guard-payments-dev'))).toEqual({
      action: 'DENY',
      rules: [{ from: [{ source: { namespaces: ['meshpass-payments-dev'] } }] }],
    });
  });
});
