/** Constructs of the access file on a real mesh: each lets through exactly what it means. */
import type { KubeObject } from '@meshpass/lab';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../mesh.ts';
import { type AccessLanguage, openAccessLanguage, TRUST, WHO } from './world.ts';

const PATHS = `${TRUST}grants:
  paths:
${WHO}    to:
      - service: orders.shop
        port: 8080
        allow:
          - "* /orders/*"
          - GET /users/{*}/orders
          - GET /static/{**}
          - GET /x/{**}/end
          - GET /a/{*}/b/{*}/c/{*}/d/{*}/e/{*}/f/{*}/g
          - {operation: POST /refunds, require: {department: [finance, audit]}}
        deny: [DELETE /orders/*]
      - {service: orders-grpc.shop, port: grpc, grpc: [acme.orders.v1.Orders/Get, acme.refunds.v1.Refunds/*]}
`;

const SELECTING = `${TRUST}include: [teams/web.yaml]
grants:
  paths:
${WHO}    to:
      - {service: orders.shop, port: 8080, require: {groups: sre}}
      - {namespace: shop, labels: {tier: front}, ports: [http, 8080]}
      - {service: web, namespace_labels: {team: payments}, port: 80}
      - {namespace: preview-*, port: http}
    kubernetes: {roles: [{role: view, namespace: preview-*}]}
`;

let world: AccessLanguage;
beforeAll(async () => {
  world = await openAccessLanguage();
});
afterAll(() => world?.close());

describe('operations', () => {
  let finance: AdversarialClient;
  let sales: AdversarialClient;

  beforeAll(async () => {
    world.put(PATHS);
    finance = await world.session('finance', 'paths', { department: 'finance' });
    sales = await world.session('sales', 'paths', { department: 'sales' });
    await until(
      () => world.call(finance, '/orders/1'),
      (status) => status === 200,
      40,
    );
    // Newest policy of the grant: once it applies, all of them do.
    await until(
      () => world.call(finance, '/acme.orders.v1.Orders/Get', GRPC),
      (status) => status === 200,
      40,
    );
  });

  const GRPC = { target: 'orders-grpc.shop.svc.cluster.local:9000', method: 'POST' };

  /** 404 is the service's own: the sidecar let it through. */
  const TABLE: readonly (readonly [string, number, string?])[] = [
    ['/orders/1', 200],
    ['/orders/1/items', 200],
    ['/users/1/orders', 404],
    ['/users/1/orders?all=true', 404],
    ['/users/a%2fb/orders', 404],
    ['/users/orders', 403],
    ['/users//orders', 403],
    ['/users/./orders', 403],
    ['/users/1/2/orders', 403],
    ['/users/1/orders/', 403],
    ['/users/1/orders/2', 403],
    ['/Users/1/orders', 403],
    ['/static/', 404],
    ['/static/app.js', 404],
    ['/static/a/b/c.css?v=1', 404],
    ['/static', 403],
    ['/static/../admin/x', 403],
    ['/statics/a', 403],
    ['/x/1/end', 404],
    ['/x/1/2/3/end', 404],
    ['/x/end', 403],
    ['/x/1/end/2', 403],
    ['/a/1/b/2/c/3/d/4/e/5/f/6/g', 404],
    ['/a/1/b/2/c/3/d/4/e/5/f/6/7/g', 403],
    ['/orders/1', 403, 'DELETE'],
    ['/orders//1', 403, 'DELETE'],
    ['/orders/;x/1', 403, 'DELETE'],
    ['/orders/%2F1%20/', 403, 'DELETE'],
    ['/users/1/orders', 403, 'POST'],
    ['/static/app.js', 403, 'PUT'],
    ['/admin/x', 403],
  ];
  /** Differences over the whole table at once. */
  const surprises = async () => {
    const found = await Promise.all(
      TABLE.map(async ([path, expected, method = 'GET']) => {
        const status = await world.call(finance, path, { method });
        return status === expected ? [] : [`${method} ${path} gave ${status}, not ${expected}`];
      }),
    );
    return found.flat();
  };

  it('mean paths, prefixes and templates exactly, including denied ones', async () => {
    expect(await surprises()).toEqual([]);
  });

  it('are refused without a claim that they demand, and only then', async () => {
    expect(await world.call(finance, '/refunds', { method: 'POST' })).toBe(201);
    expect(await world.call(sales, '/refunds', { method: 'POST' })).toBe(403);
    expect(await world.call(sales, '/orders/1')).toBe(200);
    const { identityToken } = await finance.show();
    const claims = JSON.parse(Buffer.from(identityToken!.split('.')[1]!, 'base64url').toString());
    // Groups and other claims of the proof are absent, because no grant requires them.
    expect(claims.attested).toEqual({ department: ['finance'] });
    expect(JSON.stringify(claims)).not.toContain('sre');
  });

  it.each([
    ['/acme.orders.v1.Orders/Get', 200],
    ['/acme.orders.v1.Orders/Delete', 403],
    ['/acme.orders.v1.Orders/GetAll', 403],
    ['/acme.refunds.v1.Refunds/Make', 200],
    ['/acme.refunds.v1.RefundsAdmin/Make', 403],
    ['/acme.refunds.v1.refunds/Make', 403],
  ])('mean gRPC methods: %s gives %d', async (path, expected) => {
    expect(await world.call(finance, path, GRPC)).toBe(expected);
    expect(await world.call(finance, path, { ...GRPC, method: 'GET' })).toBe(403);
  });

  it('mean the same if a foreign policy closes the workload', async () => {
    const closed: KubeObject = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'callers', namespace: 'shop' },
      spec: {
        selector: { matchLabels: { app: 'orders' } },
        action: 'ALLOW',
        rules: [{ from: [{ source: { namespaces: ['shop'] } }] }],
      },
    };
    world.removeAtTheEnd(closed);
    await world.dataPath.lab.kubernetes.apply(closed);
    const ours = '/apis/security.istio.io/v1/authorizationpolicies meshpass-paths.orders.8080.allow';
    await until(
      async () => Object.keys(await world.dataPath.objects()).map((key) => key.replace('shop/', '')),
      (names) => names.includes(ours),
    );
    // Between the two policies nothing was allowed: all of it has come when the last one has.
    await until(surprises, (found) => found.length === 0, 40);
    expect(await world.call(finance, '/refunds', { method: 'POST' })).toBe(201);
    expect(await world.call(sales, '/refunds', { method: 'POST' })).toBe(403);
    expect(await world.call(finance, '/acme.refunds.v1.Refunds/Make', GRPC)).toBe(200);
    await world.dataPath.lab.kubernetes.remove(closed);
    await until(
      async () => Object.keys(await world.dataPath.objects()).some((key) => key.includes('.allow')),
      (found) => !found,
    );
  });
});

describe('targets', () => {
  let one: AdversarialClient;
  const WEB = 'web.dev.svc.cluster.local:80';
  const FRONT = 'front.shop.svc.cluster.local:8080';
  const granted = async () => {
    const { json } = await one.speak('GET', '/services');
    return (json as { services: { host: string; port: number }[] }).services
      .map(({ host, port }) => `${host}:${port}`)
      .sort();
  };

  beforeAll(async () => {
    world.put(SELECTING, {
      'teams/web.yaml': `grants:\n  included:\n${WHO}    to: [{host: web.dev.svc.cluster.local, port: http}]\n`,
    });
    one = await world.session('selecting', 'included');
    await completedToo(one, 'paths');
    await until(
      () => world.call(one, '/orders/1'),
      (status) => status === 200,
      40,
    );
  });

  /** A certificate for one more grant of a session. */
  const completedToo = async (by: AdversarialClient, grant: string) =>
    expect(await by.certificate(grant)).toMatchObject({ status: 200 });

  it('of an included file are granted, and those of other grants are not by them', async () => {
    await until(
      () => world.call(one, '/', { target: WEB, grant: 'included' }),
      (status) => status === 200,
      40,
    );
    expect(await world.call(one, '/', { target: WEB })).toBe('edge tunnel_target_not_granted');
    expect(await world.call(one, '/orders/1', { grant: 'included' })).toBe('edge tunnel_target_not_granted');
  });

  it('follow an included file that changes, and stay if it is wrong', async () => {
    world.put(SELECTING, {
      'teams/web.yaml': `grants:\n  included:\n${WHO}    to: [{host: web.dev.svc.cluster.local, prot: http}]\n`,
    });
    const refused = await until(
      async () =>
        (await world.dataPath.audit()).filter(
          ({ action, outcome }) => action === 'policy.apply' && outcome === 'refused',
        ),
      (rows) => rows.length > 0,
    );
    expect(refused.at(-1)).toMatchObject({
      code: 'access_file_unknown_key',
      reason: expect.stringMatching(/^teams\/web\.yaml:4:\d+ unknown key "prot" \(did you mean "port"\?\)$/),
    });
    expect(await world.call(one, '/', { target: WEB, grant: 'included' })).toBe(200);
  });

  it('are there as soon as a Service with their labels is, and no longer', async () => {
    expect(await granted()).not.toContain(FRONT);
    const front = world.serviceOn('orders', 'front', { port: 8080, targetPort: 8080, name: 'http' }, { tier: 'front' });
    await world.dataPath.lab.kubernetes.apply(...front);
    await until(
      () => world.call(one, '/orders/1', { target: FRONT }),
      (status) => status === 200,
      40,
    );
    expect(await granted()).toContain(FRONT);
    await world.dataPath.lab.kubernetes.call(
      'PATCH',
      '/api/v1/namespaces/shop/services/front',
      { metadata: { labels: { tier: 'back' } } },
      'application/merge-patch+json',
    );
    await until(
      () => world.call(one, '/orders/1', { target: FRONT }),
      (status) => status === 'edge tunnel_target_not_granted',
      40,
    );
    expect(await granted()).not.toContain(FRONT);
  });

  it('hold in a namespace while it has their labels', async () => {
    expect(await world.call(one, '/', { target: WEB })).toBe('edge tunnel_target_not_granted');
    await world.label('dev', 'payments');
    await until(
      () => world.call(one, '/', { target: WEB }),
      (status) => status === 200,
      40,
    );
    await world.label('dev', 'search');
    await until(
      () => world.call(one, '/', { target: WEB }),
      (status) => status === 'edge tunnel_target_not_granted',
      40,
    );
  });

  it('apply in namespaces that appear and disappear, with their roles, without a broker restart', async () => {
    const preview: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'preview-7' } };
    world.removeAtTheEnd(preview);
    const app: KubeObject = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'app', namespace: 'preview-7' },
      spec: { selector: { app: 'app' }, ports: [{ name: 'http', port: 8080 }] },
    };
    await world.dataPath.lab.kubernetes.apply(preview);
    await world.dataPath.lab.kubernetes.apply(app);
    await until(granted, (hosts) => hosts.includes('app.preview-7.svc.cluster.local:8080'));
    const inPreview = async () =>
      Object.keys(await world.dataPath.objects()).filter((key) => key.includes('preview-7/'));
    expect(await inPreview()).toEqual([
      '/apis/security.istio.io/v1/authorizationpolicies preview-7/meshpass-paths.app.8080',
      '/apis/rbac.authorization.k8s.io/v1/rolebindings preview-7/meshpass-paths.view',
    ]);
    await world.dataPath.lab.kubernetes.call('DELETE', '/api/v1/namespaces/preview-7');
    await until(granted, (hosts) => !hosts.some((host) => host.includes('preview-7')));
    await until(inPreview, (found) => found.length === 0, 60);
    // Later changes are still applied.
    await world.label('dev', 'payments');
    await until(
      () => world.call(one, '/', { target: WEB }),
      (status) => status === 200,
      40,
    );
    expect(world.dataPath.meshpass.log()).not.toContain('failed to apply policies');
  });
});

it('no audit row and no line of the log holds a token', () => world.dataPath.expectNoSecretKept());
