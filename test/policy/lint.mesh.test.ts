/** The linter compared with Istio's own samples, a live cluster, and the routes that Envoy serves. */
import { globSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { lintFiles } from '@meshpass/analysis/lint';
import { readCluster } from '@meshpass/cli/input/cluster-manifests';
import { type KubeObject, type Lab, upLab } from '@meshpass/lab';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../mesh.ts';
import { istioSource } from './istio-source.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');

describe("Istio's own sample applications", () => {
  /** Expected findings, with the reason why a maintainer would agree with each. */
  const FOUND: Readonly<Record<string, readonly [codes: readonly string[], why: string]>> = {
    'bookinfo/networking/bookinfo-gateway.yaml': [['MP202', 'MP201', 'MP103'], demo()],
    'helloworld/helloworld-gateway.yaml': [['MP202', 'MP201', 'MP103'], demo()],
    'httpbin/httpbin-gateway.yaml': [['MP202', 'MP201', 'MP103'], demo()],
    'websockets/route.yaml': [['MP202', 'MP201', 'MP103'], demo()],
    'bookinfo/networking/certmanager-gateway.yaml': [
      ['MP202', 'MP201', 'MP103'],
      'ACME challenges come over plain HTTP under any name; an owner who keeps this open can suppress it',
    ],
    'bookinfo/networking/fault-injection-details-v1.yaml': [
      ['MP105'],
      'the second route has no match, as the first, and is never taken',
    ],
    'multicluster/expose-istiod.yaml': [
      ['MP205', 'MP201', 'MP201', 'MP103', 'MP205', 'MP205'],
      'this is what the rule is about: port 15012 becomes public',
    ],
    'multicluster/expose-istiod-https.yaml': [
      ['MP205', 'MP205', 'MP205'],
      'as above, by name: the gateway terminates TLS, and a token is enough',
    ],
    'bookinfo/platform/kube/productpage-nodeport.yaml': [['MP702'], nodePort()],
    'httpbin/httpbin-nodeport.yaml': [['MP702'], nodePort()],
    'httpbin/gateway-api/httpbin-gateway.yaml': [
      ['MP704'],
      'the listener accepts routes of every namespace, for any host',
    ],
  };

  function demo(): string {
    return 'a demonstration for any address, in the clear: as it says, not for production';
  }

  function nodePort(): string {
    return 'a note: ports of every node lead to the sidecar, and no file requires mutual TLS';
  }

  test('have only the findings that are explained here', () => {
    const samples = join(istioSource(), 'samples');
    const files = globSync('**/*.yaml', { cwd: samples }).toSorted();
    expect(files.length).toBeGreaterThan(100);
    const found: Record<string, readonly string[]> = {};
    let objects = 0;
    // One by one, as they are applied: the samples stand beside each other and know nothing of each other.
    for (const file of files) {
      const linted = lintFiles([{ name: file, text: readFileSync(join(samples, file)) }], { now: NOW });
      objects += linted.objects;
      if (linted.findings.length > 0) found[file] = linted.findings.map(({ code }) => code);
    }
    expect(objects).toBeGreaterThan(250);
    expect(found).toEqual(Object.fromEntries(Object.entries(FOUND).map(([file, [codes]]) => [file, codes])));
  });
});

describe('what Envoy says is reachable', () => {
  const GATEWAY = object('networking.istio.io/v1', 'Gateway', 'lint', 'meshpass-system', {
    selector: { istio: 'meshpass-gateway' },
    servers: [{ port: { number: 8081, name: 'http', protocol: 'HTTP' }, hosts: ['shop/test.shop.example.com'] }],
  });
  const ROUTE = object('networking.istio.io/v1', 'VirtualService', 'lint-orders', 'shop', {
    hosts: ['test.shop.example.com'],
    gateways: ['meshpass-system/lint'],
    http: [
      {
        match: [{ uri: { prefix: '/orders/' } }],
        route: [{ destination: { host: 'orders.shop.svc.cluster.local', port: { number: 8080 } } }],
      },
    ],
  });
  const atGateway = { selector: { matchLabels: { istio: 'meshpass-gateway' } } };
  const atWorkload = { selector: { matchLabels: { app: 'orders' } } };
  const anonymous = [{ source: { notRequestPrincipals: ['*'] } }];
  const policy = (namespace: string, spec: object) =>
    object('security.istio.io/v1', 'AuthorizationPolicy', 'lint', namespace, spec);

  let lab: Lab;
  let applied: KubeObject[] = [];
  const apply = async (...objects: KubeObject[]) => {
    applied.push(...objects);
    await lab.kubernetes.apply(...objects);
  };
  beforeAll(async () => {
    lab = await upLab();
  });
  afterEach(async () => {
    await lab.kubernetes.remove(...applied);
    applied = [];
  });
  afterAll(() => lab?.down());

  const call = (path: string, headers: Record<string, string> = {}): Promise<number | string> =>
    new Promise((resolve) => {
      const options = {
        host: lab.hosts.gateway!.ip,
        port: 8081,
        path,
        headers: { host: 'test.shop.example.com', ...headers },
        timeout: 2000,
      };
      const request = get(options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on('timeout', () => request.destroy());
      request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'closed'));
    });
  /** Policies that refuse a path of their own, at the gateway and at the workload: they come with the others, or after them. */
  let round = 0;
  const markers = (): KubeObject[] => {
    round++;
    const refuse = (path: string) => ({ action: 'DENY', rules: [{ to: [{ operation: { paths: [path] } }] }] });
    const named = (one: KubeObject) => ({ ...one, metadata: { ...one.metadata, name: 'lint-marker' } });
    return [
      named(policy('meshpass-system', { ...atGateway, ...refuse(`/orders/gateway-${round}`) })),
      named(policy('shop', { ...atWorkload, ...refuse(`/orders/workload-${round}`) })),
    ];
  };
  const inForce = async () => {
    for (const at of ['gateway', 'workload'])
      await until(
        () => call(`/orders/${at}-${round}`),
        (status) => status === 403,
        40,
      );
  };
  const findings = async () => {
    const { resources, problems } = await readCluster(lab.kubeconfig);
    expect(problems).toEqual([]);
    return lintFiles([], { now: NOW, complete: true }, { resources }).findings.filter(({ code }) => code === 'MP101');
  };

  test.each<[string, KubeObject[], 'open' | 'closed']>([
    ['nothing demands an identity', [], 'open'],
    [
      'the gateway refuses who has none',
      [policy('meshpass-system', { ...atGateway, action: 'DENY', rules: [{ from: anonymous }] })],
      'closed',
    ],
    [
      'the gateway refuses who has none, under another path',
      [
        policy('meshpass-system', {
          ...atGateway,
          action: 'DENY',
          rules: [{ from: anonymous, to: [{ operation: { paths: ['/admin*'] } }] }],
        }),
      ],
      'open',
    ],
    [
      'the workload refuses who has none',
      [policy('shop', { ...atWorkload, action: 'DENY', rules: [{ from: anonymous }] })],
      'closed',
    ],
    [
      'the workload lets another caller in only',
      [
        policy('shop', {
          ...atWorkload,
          rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/client'] } }] }],
        }),
      ],
      'closed',
    ],
    [
      'the workload lets the gateway in',
      [policy('shop', { ...atWorkload, rules: [{ from: [{ source: { namespaces: ['meshpass-system'] } }] }] })],
      'open',
    ],
    [
      'the workload wants a token for another path only',
      [
        policy('shop', {
          ...atWorkload,
          action: 'DENY',
          rules: [{ from: anonymous, to: [{ operation: { paths: ['/refunds*'] } }] }],
        }),
      ],
      'open',
    ],
    [
      'the mesh refuses who has none',
      [
        policy('istio-system', {
          action: 'DENY',
          rules: [{ from: anonymous, to: [{ operation: { paths: ['/orders/*'] } }] }],
        }),
      ],
      'closed',
    ],
  ])("are the linter's findings about a live cluster: %s", async (_, policies, expected) => {
    await apply(GATEWAY, ROUTE, ...policies, ...markers());
    await inForce();
    await until(
      () => call('/orders/1'),
      (status) => status === (expected === 'open' ? 200 : 403),
      40,
    );
    const found = await findings();
    expect(found.map(({ object: { kind, namespace, name } }) => `${kind} ${namespace}/${name}`)).toEqual(
      expected === 'open' ? ['VirtualService shop/lint-orders'] : [],
    );
    if (expected === 'open') {
      expect(found[0]!.message).toContain(
        'any method /orders/* of test.shop.example.com reaches orders.shop.svc.cluster.local:8080',
      );
      expect(found[0]!.place).toMatchObject({
        file: 'VirtualService/shop/lint-orders spec.http.0.route.0.destination.host',
        line: 0,
      });
    }
  });

  test('a header that guards a route is no guard, and a file replaces the object in the cluster', async () => {
    const [http] = (ROUTE.spec as { http: { match: object[] }[] }).http;
    const guarded = { ...http, match: [{ uri: { prefix: '/orders/' }, headers: { 'x-env': { exact: 'test' } } }] };
    await apply(GATEWAY, { ...ROUTE, spec: { ...(ROUTE.spec as object), http: [guarded] } });
    await until(
      () => call('/orders/1', { 'x-env': 'test' }),
      (status) => status === 200,
      40,
    );
    expect(await call('/orders/1')).toBe(404);
    const [found] = await findings();
    expect(found!.message).toContain('and sends the header x-env: test, which requires no identity');

    const { resources } = await readCluster(lab.kubeconfig);
    const inMeshOnly = JSON.stringify({ ...ROUTE, spec: { ...(ROUTE.spec as object), gateways: ['mesh'] } });
    const after = lintFiles([{ name: 'route.json', text: inMeshOnly }], { now: NOW, complete: true }, { resources });
    expect(after.findings.filter(({ code }) => code === 'MP101')).toEqual([]);
  });
});

function object(apiVersion: string, kind: string, name: string, namespace: string, spec: object): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace }, spec };
}
