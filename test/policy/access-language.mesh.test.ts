/** What the access file can say, said to a real mesh: each construct lets through what it means, and nothing else. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TunnelReport } from '@meshpass/cli/drill/tunnel';
import type { KubeObject } from '@meshpass/lab';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, completed, type DataPath, idTokenProof, ORDERS, openDataPath, until } from '../mesh.ts';

const TRUST = `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: "https://idp.test:8443", audience: meshpass}
`;
const WHO = '    who: [{issuer: okta, claims: {groups: sre}}]\n';

const PATHS = `${TRUST}grants:
  paths:
${WHO}    to:
      - service: orders.shop
        port: 8080
        allow:
          - GET /orders/*
          - GET /users/{*}/orders
          - GET /static/{**}
          - GET /x/{**}/end
          - GET /a/{*}/b/{*}/c/{*}/d/{*}/e/{*}/f/{*}/g
          - {operation: POST /refunds, require: {department: [finance, audit]}}
        deny: ["* /orders/{*}/internal/{**}"]
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

let dataPath: DataPath;
let adversary: AdversarialClient;
/** Sessions that an agent would keep alive. */
const beating = new Set<AdversarialClient>();
const beat = setInterval(() => {
  for (const one of beating) one.speak('POST', '/session/heartbeat').catch(() => beating.delete(one));
}, 10_000);

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-language-'));
  writeFileSync(join(dir, 'access.yaml'), TRUST.concat('grants: {}\n'));
  dataPath = await openDataPath({ accessFile: join(dir, 'access.yaml') });
  rmSync(dir, { recursive: true });
  await dataPath.lab.kubernetes.apply(
    ...serviceOn('orders', 'orders-grpc', { port: 9000, targetPort: 50051, name: 'grpc' }),
  );
  dataPath.lab.spawn('orders', ['node', '-e', GRPC_SERVER]);
});
afterAll(async () => {
  clearInterval(beat);
  if (dataPath) {
    for (const object of [...created].reverse()) await dataPath.lab.kubernetes.remove(object).catch(() => undefined);
    await label('dev', null);
    await label('shop', null);
  }
  await dataPath?.close();
});

/** Any method of any gRPC service, answered with the status OK. */
const GRPC_SERVER = `require('node:http2').createServer().on('stream', (stream) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end();
}).listen(50051, '0.0.0.0');`;

const created: KubeObject[] = [];

interface ServicePort {
  readonly port: number;
  readonly targetPort: number;
  readonly name: string;
}

/** A Service of the namespace shop in front of a host of the lab, with what an endpoint controller would write. */
function serviceOn(host: string, name: string, port: ServicePort, labels: Record<string, string> = {}): KubeObject[] {
  const objects: KubeObject[] = [
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop', labels } },
      spec: { selector: { app: host }, ports: [port] },
    },
    {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
      metadata: { name: `${name}-lab`, namespace: 'shop', labels: { 'kubernetes.io/service-name': name } },
      ports: [{ name: port.name, port: port.targetPort, protocol: 'TCP' }],
      endpoints: [
        {
          addresses: [dataPath.lab.hosts[host]!.ip],
          conditions: { ready: true },
          targetRef: { kind: 'Pod', name: host, namespace: 'shop' },
        },
      ],
    },
  ];
  created.push(...objects);
  return objects;
}

const label = (namespace: string, team: string | null) =>
  dataPath.lab.kubernetes.call(
    'PATCH',
    `/api/v1/namespaces/${namespace}`,
    { metadata: { labels: { team } } },
    'application/merge-patch+json',
  );

/** Writes the access file, and what it includes first. */
function put(text: string, included: Readonly<Record<string, string>> = {}): void {
  const dir = dirname(dataPath.meshpass.accessFile);
  for (const [name, inner] of Object.entries(included)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), inner);
  }
  writeFileSync(dataPath.meshpass.accessFile, text);
}

let people = 0;
/** A proof of somebody in the group sre, with more claims. */
const proof = async (claims: Readonly<Record<string, unknown>> = {}) =>
  idTokenProof(
    dataPath.secret(
      await dataPath.idp.idToken({ subject: `00u${++people}`, claims: { groups: ['sre', 'dev'], ...claims } }),
    ),
  );

/** Opens a session as soon as the file that grants it is in force. */
async function session(
  name: string,
  grant: string,
  claims?: Readonly<Record<string, unknown>>,
): Promise<AdversarialClient> {
  const one = adversary.as(name);
  const answer = await until(
    async () => one.enrol(await proof(claims)),
    ({ status, json }) => status === 200 && (json as { session: { grants: string[] } }).session.grants.includes(grant),
    40,
  );
  await completed(dataPath, one, answer, grant);
  beating.add(one);
  return one;
}

interface Call {
  readonly target?: string;
  readonly method?: string;
  readonly grant?: string;
}

/** Status of the answer, or the layer that let nothing through. */
async function call(
  by: AdversarialClient,
  path: string,
  { target = ORDERS, method = 'GET', grant = 'paths' }: Call = {},
) {
  const { identityToken } = await by.show();
  const token = `x-meshpass-token: ${identityToken}\r\n`;
  const send = `${method} ${path} HTTP/1.1\r\nHost: ${target}\r\ncontent-length: 0\r\n${token}\r\n`;
  const report = await by.tunnel({ target, grant, edge: dataPath.meshpass.edge, send });
  return statusOf(report);
}
function statusOf(report: TunnelReport): number | string {
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : `${report.stage} ${report.edgeCode ?? report.error ?? report.answer}`;
}

describe('operations', () => {
  let finance: AdversarialClient;
  let sales: AdversarialClient;

  beforeAll(async () => {
    adversary = dataPath.adversary();
    put(PATHS);
    finance = await session('finance', 'paths', { department: 'finance' });
    sales = await session('sales', 'paths', { department: 'sales' });
    await until(
      () => call(finance, '/orders/1'),
      (status) => status === 200,
      40,
    );
    // The newest of the grant's policies: with it, all are there.
    await until(
      () => call(finance, '/acme.orders.v1.Orders/Get', GRPC),
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
    ['/orders/1/internal/notes', 403],
    ['/orders/1/internal/', 403],
    ['/orders/1/2/internal/notes', 200],
    ['/orders/1/internal', 200],
    ['/users/1/orders', 403, 'POST'],
    ['/static/app.js', 403, 'PUT'],
    ['/admin/x', 403],
  ];
  /** Of all of the table at once, what is otherwise. */
  const surprises = async () => {
    const found = await Promise.all(
      TABLE.map(async ([path, expected, method = 'GET']) => {
        const status = await call(finance, path, { method });
        return status === expected ? [] : [`${method} ${path} gave ${status}, not ${expected}`];
      }),
    );
    return found.flat();
  };

  it('mean paths, prefixes and templates exactly, and what is denied among them', async () => {
    expect(await surprises()).toEqual([]);
  });

  it('are refused without a claim that they demand, and only then', async () => {
    expect(await call(finance, '/refunds', { method: 'POST' })).toBe(201);
    expect(await call(sales, '/refunds', { method: 'POST' })).toBe(403);
    expect(await call(sales, '/orders/1')).toBe(200);
    const { identityToken } = await finance.show();
    const claims = JSON.parse(Buffer.from(identityToken!.split('.')[1]!, 'base64url').toString());
    // Neither the groups nor anything else of the proof: nobody demands them here.
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
    expect(await call(finance, path, GRPC)).toBe(expected);
    expect(await call(finance, path, { ...GRPC, method: 'GET' })).toBe(403);
  });

  it('mean the same where a policy of somebody else closes the workload', async () => {
    const closed: KubeObject = {
      ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
      metadata: { name: 'callers', namespace: 'shop' },
      spec: {
        selector: { matchLabels: { app: 'orders' } },
        action: 'ALLOW',
        rules: [{ from: [{ source: { namespaces: ['shop'] } }] }],
      },
    };
    created.push(closed);
    await dataPath.lab.kubernetes.apply(closed);
    const ours = '/apis/security.istio.io/v1/authorizationpolicies meshpass-paths.orders.8080.allow';
    await until(
      async () => Object.keys(await dataPath.objects()).map((key) => key.replace('shop/', '')),
      (names) => names.includes(ours),
    );
    // Between the two policies nothing was allowed: all of it has come when the last one has.
    await until(surprises, (found) => found.length === 0, 40);
    expect(await call(finance, '/refunds', { method: 'POST' })).toBe(201);
    expect(await call(sales, '/refunds', { method: 'POST' })).toBe(403);
    expect(await call(finance, '/acme.refunds.v1.Refunds/Make', GRPC)).toBe(200);
    await dataPath.lab.kubernetes.remove(closed);
    await until(
      async () => Object.keys(await dataPath.objects()).some((key) => key.includes('.allow')),
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
    put(SELECTING, {
      'teams/web.yaml': `grants:\n  included:\n${WHO}    to: [{host: web.dev.svc.cluster.local, port: http}]\n`,
    });
    one = await session('selecting', 'included');
    await completedToo(one, 'paths');
    await until(
      () => call(one, '/orders/1'),
      (status) => status === 200,
      40,
    );
  });

  /** A certificate for one more grant of a session. */
  const completedToo = async (by: AdversarialClient, grant: string) =>
    expect(await by.certificate(grant)).toMatchObject({ status: 200 });

  it('of an included file are granted, and those of other grants are not by them', async () => {
    await until(
      () => call(one, '/', { target: WEB, grant: 'included' }),
      (status) => status === 200,
      40,
    );
    expect(await call(one, '/', { target: WEB })).toBe('edge tunnel_target_not_granted');
    expect(await call(one, '/orders/1', { grant: 'included' })).toBe('edge tunnel_target_not_granted');
  });

  it('follow an included file that changes, and stay where it is wrong', async () => {
    put(SELECTING, {
      'teams/web.yaml': `grants:\n  included:\n${WHO}    to: [{host: web.dev.svc.cluster.local, prot: http}]\n`,
    });
    const refused = await until(
      async () =>
        (await dataPath.audit()).filter(({ action, outcome }) => action === 'policy.apply' && outcome === 'refused'),
      (rows) => rows.length > 0,
    );
    expect(refused.at(-1)).toMatchObject({
      code: 'access_file_unknown_key',
      reason: expect.stringMatching(/^teams\/web\.yaml:4:\d+ unknown key "prot" \(did you mean "port"\?\)$/),
    });
    expect(await call(one, '/', { target: WEB, grant: 'included' })).toBe(200);
  });

  it('are there as soon as a Service with their labels is, and no longer', async () => {
    expect(await granted()).not.toContain(FRONT);
    const front = serviceOn('orders', 'front', { port: 8080, targetPort: 8080, name: 'http' }, { tier: 'front' });
    await dataPath.lab.kubernetes.apply(...front);
    await until(
      () => call(one, '/orders/1', { target: FRONT }),
      (status) => status === 200,
      40,
    );
    expect(await granted()).toContain(FRONT);
    await dataPath.lab.kubernetes.call(
      'PATCH',
      '/api/v1/namespaces/shop/services/front',
      { metadata: { labels: { tier: 'back' } } },
      'application/merge-patch+json',
    );
    await until(
      () => call(one, '/orders/1', { target: FRONT }),
      (status) => status === 'edge tunnel_target_not_granted',
      40,
    );
    expect(await granted()).not.toContain(FRONT);
  });

  it('hold in a namespace while it has their labels', async () => {
    expect(await call(one, '/', { target: WEB })).toBe('edge tunnel_target_not_granted');
    await label('dev', 'payments');
    await until(
      () => call(one, '/', { target: WEB }),
      (status) => status === 200,
      40,
    );
    await label('dev', 'search');
    await until(
      () => call(one, '/', { target: WEB }),
      (status) => status === 'edge tunnel_target_not_granted',
      40,
    );
  });

  it('hold in namespaces that come and go, with their roles, and the broker goes on', async () => {
    const preview: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'preview-7' } };
    created.push(preview);
    const app: KubeObject = {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'app', namespace: 'preview-7' } },
      spec: { selector: { app: 'app' }, ports: [{ name: 'http', port: 8080 }] },
    };
    await dataPath.lab.kubernetes.apply(preview);
    await dataPath.lab.kubernetes.apply(app);
    await until(granted, (hosts) => hosts.includes('app.preview-7.svc.cluster.local:8080'));
    const inPreview = async () => Object.keys(await dataPath.objects()).filter((key) => key.includes('preview-7/'));
    expect(await inPreview()).toEqual([
      '/apis/security.istio.io/v1/authorizationpolicies preview-7/meshpass-paths.app.8080',
      '/apis/rbac.authorization.k8s.io/v1/rolebindings preview-7/meshpass-paths.view',
    ]);
    await dataPath.lab.kubernetes.call('DELETE', '/api/v1/namespaces/preview-7');
    await until(granted, (hosts) => !hosts.some((host) => host.includes('preview-7')));
    await until(inPreview, (found) => found.length === 0, 60);
    // What came after it is applied all the same.
    await label('dev', 'payments');
    await until(
      () => call(one, '/', { target: WEB }),
      (status) => status === 200,
      40,
    );
    expect(dataPath.meshpass.log()).not.toContain('policies could not be applied');
  });
});

describe('time windows', () => {
  const instant = (secondsFromNow: number) =>
    new Date(Date.now() + secondsFromNow * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  const grant = (name: string, during: string) =>
    `  ${name}:\n${WHO}    to: [{service: orders.shop, port: 8080}]\n    during: [${during}]\n`;

  it('end a grant of a live session when they close, with its connections, and leave it the others', async () => {
    const closes = Date.now() + 25_000;
    put(
      `${TRUST}grants:\n${grant('brief', `{before: ${new Date(closes).toISOString().replace(/\.\d+Z$/, 'Z')}}`)}${grant('open', `{after: ${instant(-60)}}`)}`,
    );
    const one = await session('brief', 'brief');
    expect(await one.certificate('open')).toMatchObject({ status: 200 });
    await until(
      () => call(one, '/orders/1', { grant: 'brief' }),
      (status) => status === 200,
    );
    const { identityToken } = await one.show();
    const send = `GET /orders/1 HTTP/1.1\r\nHost: ${ORDERS}\r\nx-meshpass-token: ${identityToken}\r\n\r\n`;
    let cutAt: number;
    do {
      // Envoy winds up a connection that it had when the policies came; until the window closes another one gets in.
      const held = await one.hold({ target: ORDERS, grant: 'brief', edge: dataPath.meshpass.edge, send });
      expect(statusOf(held)).toBe(200);
      cutAt = await one.cut();
    } while (cutAt < closes - 1_000); // windows are bounded to the second
    // The edge knows nobody of that name any more: each grant has a principal of its own.
    expect(await call(one, '/orders/1', { grant: 'brief' })).toBe('edge tunnel_session_unknown');
    expect(await one.certificate('brief')).toMatchObject({ status: 403 });
    expect(await one.token()).toMatchObject({ status: 200 });
    await until(
      () => call(one, '/orders/1', { grant: 'open' }),
      (status) => status === 200,
    );
    const narrowed = (await dataPath.audit()).filter(({ action }) => action === 'session.narrow');
    expect(narrowed.at(-1)).toMatchObject({ grant_name: 'brief', outcome: 'ended' });
    const late = await adversary.as('late').enrol(await proof());
    expect(late).toMatchObject({ status: 200, json: { session: { grants: ['open'] } } });
  });

  it('give a grant from when they open, and not before', async () => {
    put(`${TRUST}grants:\n${grant('later', `{after: ${instant(12)}}`)}`);
    const first = await until(
      async () => adversary.as('early').enrol(await proof()),
      ({ status }) => status === 403,
    );
    expect(first).toMatchObject({ json: { error_code: 'access_none' } });
    const why = (await dataPath.audit()).findLast(({ code }) => code === 'access_none');
    expect(why?.reason).toContain('grant later: access.yaml:9:14 it is not open at this time');
    const one = await session('early', 'later');
    await until(
      () => call(one, '/orders/1', { grant: 'later' }),
      (status) => status === 200,
      40,
    );
  });
});

describe('a deny list', () => {
  it('takes everything at once from who is on it, and from nobody else', async () => {
    const both = `    who: [{user_id: 583231}, {user_id: 583233}]\n    to: [{service: orders.shop, port: 8080}]\n`;
    put(`${TRUST}grants:\n  people:\n${both}`);
    const enrolled = async (owner: string) => {
      const by = adversary.as(owner);
      const codespace = await dataPath.codespace(owner);
      const answer = await until(
        () => by.enrol(codespaceProof(codespace)),
        ({ status }) => status === 200,
        40,
      );
      await completed(dataPath, by, answer, 'people');
      beating.add(by);
      return by;
    };
    const [alice, carol] = [await enrolled('alice'), await enrolled('carol')];
    await until(
      () => call(alice, '/orders/1', { grant: 'people' }),
      (status) => status === 200,
      40,
    );
    put(`${TRUST}deny: [{user_id: 583231, reason: on leave}]\ngrants:\n  people:\n${both}`);
    await until(
      () => alice.speak('POST', '/session/heartbeat'),
      ({ status }) => status === 401,
    );
    expect(await call(alice, '/orders/1', { grant: 'people' })).toBe('edge tunnel_session_unknown');
    expect(await call(carol, '/orders/1', { grant: 'people' })).toBe(200);
    // Whoever takes her login is not denied, and whatever she is called now, she is.
    await dataPath.github.renameUser('alice', 'alice-the-second');
    const again = await adversary.as('again').enrol(codespaceProof(await dataPath.codespace('alice-the-second')));
    expect(again).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
    const refused = (await dataPath.audit()).findLast(({ code }) => code === 'access_none');
    expect(refused?.reason).toMatch(/grant people: access\.yaml:5:8 denied: on leave/);
  });
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
