/**
 * Ways into the cluster, taken from the linter's corpora: each bad manifest is applied to the lab, and the request that the analysis gives as
 * its witness gets through the real gateway, or past it to the Pod. With the good one beside it, the same request does not.
 *
 * No kube-proxy runs in the lab: a load balancer, node port or host port stands for the address of the Pod, to which it would lead.
 */
import { readFileSync } from 'node:fs';
import { type ExposureEntry, listExposures } from '@meshpass/analysis/exposure';
import { lintFiles } from '@meshpass/analysis/lint';
import { loadManifests } from '@meshpass/istio';
import type { KubeObject } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../mesh.ts';
import { PAIRS, type Pair } from './exposure-pairs.ts';
import { type Answered, type Gateways, keyOf, objectsIn, openGateways, type Sent } from './gateways.ts';

const CORPUS = new URL('../../packages/analysis/test/lint/exposure-corpus/', import.meta.url);
const NOW = Date.parse('2026-11-24T12:00:00Z');
const PATIENCE_SECONDS = 30;

let gateways: Gateways;
let outside: readonly KubeObject[];

beforeAll(async () => {
  gateways = await openGateways();
  outside = [
    await gateways.serve('registry', 'shop-staging', 'https'),
    await gateways.serve('checkout', 'shop', 'http'),
    await gateways.serve('checkout-test', 'shop', 'http'),
  ];
});
afterAll(() => gateways?.close());

describe('what the linter says is open to anyone', () => {
  test('is every kind of entry point and every rule about exposure', () => {
    // Tests of their own have MP106 and MP704.
    const codes = new Set(PAIRS.map(({ bad }) => codeOf(bad)));
    expect([...codes].sort()).toEqual(['MP101', 'MP102', 'MP701', 'MP702', 'MP703']);
    const kinds = PAIRS.map((pair) => openEntry(pair)?.entry.kind);
    expect([...new Set(kinds)].sort()).toEqual(
      [
        'EnvoyFilter',
        'Gateway',
        'Ingress',
        'KubernetesGateway',
        'LoadBalancer',
        'NodePort',
        'Sidecar',
        'externalIPs',
        'hostPort',
      ].sort(),
    );
  });

  test.each(PAIRS)('$bad, and not $good', async (pair) => {
    const [bad, good] = [pair.bad, pair.good].map((file) => adapted(pair, file)) as [string, string];
    const base = pair.base === undefined ? undefined : adapted(pair, pair.base);
    const code = codeOf(pair.bad);
    expect(codesIn(bad, base)).toContain(code);
    expect(codesIn(good, base)).not.toContain(code);
    const witness = openEntry(pair)!;
    const services = objectsIn(bad).filter(({ kind }) => kind === 'Service' || kind === 'Namespace');
    const destination = serviceFor(witness, services);
    const states: readonly (readonly [string, boolean])[] = [
      // What is new was not reached before.
      ...(base === undefined ? [] : [[base, false] as const]),
      [bad, true],
      [good, false],
    ];
    for (const [text, isOpen] of states) {
      await apply([...destination, ...services, ...objectsIn(pair.also ?? ''), ...objectsIn(text)]);
      await until(
        () => getsThrough(pair, witness),
        (through) => through === isOpen,
        PATIENCE_SECONDS,
      );
    }
  });

  test('is what a header alone guards (MP106), and what every caller reaches without it', async () => {
    const [bad, good] = ['bad-header-alone', 'good-also-without-the-header'].map((name) =>
      readFileSync(new URL(`gateway-listener/MP106-${name}.yaml`, CORPUS), 'utf8'),
    ) as [string, string];
    expect([codesIn(bad, undefined), codesIn(good, undefined)]).toEqual([['MP106'], []]);
    const found = listExposures(loadManifests(bad, 'case.yaml').resources).find(({ destination }) =>
      destination.host.startsWith('admin.'),
    );
    const slices = [await gateways.serve('admin', 'shop', 'http'), await gateways.serve('web', 'shop', 'http')];
    const ask = async (headers: Readonly<Record<string, string>>): Promise<string> => {
      const { hostname: host, pathname: path } = new URL(found!.witness!.url);
      const request = { protocol: 'https', port: 443, host, method: 'GET', path, headers } as const;
      return (await gateways.send('gateway-api', request)).body;
    };
    const canary = { 'x-canary': 'true' };
    const { headers } = found!.witness!;
    for (const [text, sent, answer] of [
      [bad, headers, 'admin'],
      [good, canary, 'web'],
    ] as const) {
      await gateways.change([...objectsIn(text).filter(isApplied), ...slices]);
      await until(
        () => ask(sent),
        (body) => body.includes(answer),
        PATIENCE_SECONDS,
      );
      expect(await ask({})).toContain('web');
    }
  });

  test('is what any namespace may attach to a listener (MP704), and not to one that selects namespaces', async () => {
    const [bad, good] = ['bad-every-namespace-attaches', 'good-one-namespace'].map((name) =>
      readFileSync(new URL(`gateway-listener/MP704-${name}.yaml`, CORPUS), 'utf8').replaceAll('istio-ingress', 'shop'),
    ) as [string, string];
    const foreign = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop-staging}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: foreign, namespace: shop-staging}
spec:
  parentRefs: [{name: public, namespace: shop}]
  hostnames: [shop.example.com]
  rules: [{matches: [{path: {value: /foreign}}], backendRefs: [{name: web, port: 80}]}]
`;
    expect(codesIn(bad, undefined)).toContain('MP704');
    expect(codesIn(good, undefined)).not.toContain('MP704');
    const witnessOf = (text: string) =>
      listExposures(loadManifests(`${text}\n---\n${foreign}`, 'case.yaml').resources).find(
        ({ object }) => object.name === 'foreign',
      )?.witness;
    expect(witnessOf(good)).toBeUndefined();
    const { pathname: path, hostname: host } = new URL(witnessOf(bad)!.url);
    const ask = async (): Promise<Answered> =>
      gateways.send('gateway-api', { protocol: 'https', port: 443, host, method: 'GET', path });
    for (const [text, isOpen] of [
      [bad, true],
      [good, false],
    ] as const) {
      await apply([...objectsIn(text), ...objectsIn(foreign)]);
      // The staging service names its version.
      await until(ask, ({ body }) => body.includes('staging') === isOpen, PATIENCE_SECONDS);
    }
  });
});

async function apply(objects: readonly KubeObject[]): Promise<void> {
  const applied = distinct(objects).filter(isApplied);
  await gateways.change(distinct([...applied, ...gateways.endpointsOf(applied), ...outside]));
}

/** The Service of a destination, if neither the manifest nor the lab has it. */
function serviceFor({ destination }: ExposureEntry, known: readonly KubeObject[]): readonly KubeObject[] {
  const [name = '', namespace, svc] = destination.host.split('.');
  const isKnown = known.some(({ metadata }) => metadata.name === name && metadata.namespace === namespace);
  if (isKnown || svc !== 'svc' || namespace === undefined || destination.host.startsWith('orders.shop.')) return [];
  const spec = { ports: [{ name: 'http', port: destination.port }] };
  return [{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec }];
}

function codeOf(file: string): string {
  return /MP\d+/.exec(file)![0];
}

function adapted({ replace = [] }: Pair, file: string): string {
  const text = readFileSync(new URL(`${file}.yaml`, CORPUS), 'utf8');
  return [...replace].reduce((done, [from, to]) => done.replaceAll(from, to), text);
}

function codesIn(text: string, base: string | undefined): readonly string[] {
  const options = { now: NOW, ...(base !== undefined && { base: loadManifests(base, 'base.yaml').resources }) };
  return lintFiles([{ name: 'case.yaml', text }], options).findings.map((one) => one.code);
}

/** The entry of the bad manifest that its marked line, or for MP704 any line, exposes. */
function openEntry(pair: Pair): ExposureEntry | undefined {
  const text = adapted(pair, pair.bad);
  const marked = text.split('\n').findIndex((line) => line.includes(`#! ${codeOf(pair.bad)}`)) + 1;
  const open = listExposures(loadManifests(text, 'case.yaml').resources).filter(({ verdict }) => verdict !== 'closed');
  return open.find(({ place }) => place.line === marked) ?? open[0];
}

/** Whether a workload answers the witness. */
async function getsThrough(
  { pod, asked, answer = /^/, tries = 1 }: Pair,
  { entry, protocol, witness }: ExposureEntry,
): Promise<boolean> {
  const { method, url, headers } = asked === undefined ? witness! : { ...witness!, url: asked };
  const target = new URL(url.replace(/^tcp:/, protocol === 'tls' ? 'https:' : 'http:'));
  const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80));
  const host = pod ?? { name: entry.kind === 'KubernetesGateway' ? 'gateway-api' : 'ingress', port };
  if (protocol === 'tcp' && asked === undefined) {
    const said = await gateways.exchange(host.name, host.port, 'GET / HTTP/1.1\r\nhost: any\r\n\r\n');
    return /^HTTP\/1.1 \d+ .*\{/s.test(said ?? '');
  }
  const request: Sent = {
    protocol: target.protocol === 'https:' ? 'https' : 'http',
    port: host.port,
    host: target.hostname,
    method: method === 'CONNECT' ? 'GET' : method,
    path: target.pathname + target.search,
    headers,
  };
  const answers = await Promise.all(Array.from({ length: tries }, () => gateways.send(host.name, request)));
  return answers.some(({ byWorkload, body }) => byWorkload && answer.test(body));
}

/** Pods of the lab stand for Deployments. Of a base, only what concerns the case is in namespaces of the lab. */
function isApplied({ kind, metadata }: KubeObject): boolean {
  const { namespace = metadata.name } = metadata;
  return !/^(?:Deployment|StatefulSet|DaemonSet)$/.test(kind) && (kind === 'IngressClass' || NAMESPACES.has(namespace));
}

const NAMESPACES = new Set(['istio-system', 'istio-ingress', 'shop', 'shop-staging']);

function distinct(objects: readonly KubeObject[]): readonly KubeObject[] {
  return [...new Map(objects.map((one) => [keyOf(one), one])).values()];
}
