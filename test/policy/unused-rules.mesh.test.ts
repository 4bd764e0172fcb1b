/** Rules without a use, from the log that a real sidecar writes in Istio's JSON format. */
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { usageOf } from '@meshpass/analysis/exposure';
import { loadManifests } from '@meshpass/istio';
import { type KubeObject, type Lab, upLab } from '@meshpass/lab';
import { logFile } from '@meshpass/lab/unit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../mesh.ts';

const HOST = 'logged.shop.example.com';
const atOrders = { selector: { matchLabels: { app: 'orders' } } };
const POLICIES = [
  object('security.istio.io/v1', 'AuthorizationPolicy', 'logged', 'shop', {
    ...atOrders,
    rules: [
      { to: [{ operation: { methods: ['GET'], paths: ['/orders/*'] } }] },
      { to: [{ operation: { methods: ['DELETE'] } }] },
      { from: [{ source: { namespaces: ['elsewhere'] } }], to: [{ operation: { paths: ['/orders/*'] } }] },
    ],
  }),
  object('security.istio.io/v1', 'AuthorizationPolicy', 'logged-deny', 'shop', {
    ...atOrders,
    action: 'DENY',
    rules: [
      { to: [{ operation: { paths: ['/orders/refused*'] } }] },
      { to: [{ operation: { paths: ['/orders/never*'] } }] },
    ],
  }),
];
const ROUTE = [
  object('networking.istio.io/v1', 'Gateway', 'logged', 'meshpass-system', {
    selector: { istio: 'meshpass-gateway' },
    servers: [{ port: { number: 8082, name: 'http', protocol: 'HTTP' }, hosts: [`shop/${HOST}`] }],
  }),
  object('networking.istio.io/v1', 'VirtualService', 'logged', 'shop', {
    hosts: [HOST],
    gateways: ['meshpass-system/logged'],
    http: [{ route: [{ destination: { host: 'orders.shop.svc.cluster.local', port: { number: 8080 } } }] }],
  }),
];
const LOG = object('telemetry.istio.io/v1', 'Telemetry', 'logged', 'shop', {
  ...atOrders,
  accessLogging: [{ providers: [{ name: 'lab-json' }] }],
});

let lab: Lab;
beforeAll(async () => {
  // A lab of its own: in a shared one, connections of earlier tests stay on listeners that do not log and drain for 45 s.
  lab = await upLab({ name: `${process.env.MESHPASS_LAB}own` });
  await lab.kubernetes.apply(...ROUTE, LOG, ...POLICIES);
});
afterAll(async () => {
  await lab?.kubernetes.remove(...ROUTE, ...POLICIES, LOG);
  await lab?.down();
});

const call = (path: string): Promise<number | string> =>
  new Promise((resolve) => {
    const options = { host: lab.hosts.gateway!.ip, port: 8082, path, headers: { host: HOST }, timeout: 2000 };
    const request = get(options, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'closed'));
  });

test('finds the rules that calls used, and those that they did not', async () => {
  await until(
    () => call('/orders/refused'),
    (status) => status === 403,
    40,
  );
  await until(
    () => call('/orders/1'),
    (status) => status === 200,
    40,
  );
  const service = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
    spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}`;
  const { resources } = loadManifests(
    [service, ...POLICIES.map((one) => JSON.stringify(one))].join('\n---\n'),
    'a.yaml',
  );
  const states = () => {
    const usage = usageOf([], { resources });
    for (const line of readFileSync(logFile(lab.dir, 'sidecar-orders'), 'utf8').split('\n')) usage.read(line);
    return Object.fromEntries(usage.result().rules.map(({ name, unknown }) => [name, unknown ?? 'unused']));
  };
  // Envoy writes its log every ten seconds.
  const found = await until(
    async () => {
      await call('/orders/refused');
      await call('/orders/1');
      return states();
    },
    (rules) => !('ALLOW rule 1 of AuthorizationPolicy shop/logged' in rules),
    40,
  );
  expect(found).toEqual({
    'ALLOW rule 2 of AuthorizationPolicy shop/logged': 'unused',
    'ALLOW rule 3 of AuthorizationPolicy shop/logged':
      'the log does not show the identity of the caller (downstream_peer_uri_san)',
    'DENY rule 2 of AuthorizationPolicy shop/logged-deny': 'unused',
  });
});

function object(apiVersion: string, kind: string, name: string, namespace: string, spec: object): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace }, spec };
}
