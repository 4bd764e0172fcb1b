/**
 * The corpus of migrations between kinds of routes, served by real gateways: Istio's ingress gateway has the routes before, and a Gateway
 * of the Gateway API those after. What the analysis says of a request is what becomes of it there.
 *
 * No controller of class `nginx` runs in the lab. Of those Ingresses the side of the Gateway API is confirmed as written, and both sides with
 * the class `istio`, for which the analysis is asked anew.
 */
import { readFileSync } from 'node:fs';
import { loadManifests, type Resource } from '@meshpass/istio';
import type { KubeObject } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareOutside, type OutsideChange } from '../../packages/analysis/src/outside/compare.ts';
import { computeOutsideReach } from '../../packages/analysis/src/outside/outside.ts';
import { pick, type Random, seeded } from '../../packages/analysis/test/diff/random-policies.ts';
import { MIGRATIONS, type Migration } from '../../packages/analysis/test/outside/corpus.ts';
import { type Gateways, keyOf, objectsIn, openGateways, type Sent } from './gateways.ts';

const HOME = new URL('../../packages/analysis/test/outside/', import.meta.url);
const SERVICES = readFileSync(new URL('services.yaml', HOME), 'utf8');
const ROOT = 'istio-system';
const BEFORE = 'ingress';
const AFTER = 'gateway-api';
/** Requests of a case, besides its witnesses. */
const REQUESTS = 40;
const PATIENCE_MS = 8_000;

/** One state of a case, and the proxy that serves it. */
interface Side {
  readonly proxy: string;
  readonly text: string;
  readonly resources: readonly Resource[];
}

let gateways: Gateways;
let services: readonly KubeObject[];

beforeAll(async () => {
  gateways = await openGateways();
  services = [
    ...objectsIn(SERVICES),
    await gateways.serve('payments', 'shop', 'http'),
    await gateways.serve('admin', 'shop', 'http'),
  ];
});
afterAll(() => gateways?.close());

describe('routes before and after a migration', () => {
  test('are those of twenty VirtualServices and twenty Ingresses', () => {
    const kinds = MIGRATIONS.map(({ name }) => name.replace(/-\d.*/, ''));
    expect(kinds.filter((kind) => kind === 'virtual-service').length).toBeGreaterThanOrEqual(20);
    expect(kinds.filter((kind) => kind === 'ingress').length).toBeGreaterThanOrEqual(20);
  });

  test.each(MIGRATIONS)('$name', async ({ name, good }: Migration) => {
    const [written, after] = [sideOf(BEFORE, name, 'before.yaml'), sideOf(AFTER, name, 'after.yaml')];
    const before = withClassIstio(written);
    const changes = changesOf(before, after);
    const asWritten = before === written ? [] : changesOf(written, after);
    const random = seeded(Number(/\d+/.exec(name)));
    const planned = [...changes, ...asWritten].map(({ witness }) => sentOf(witness));
    const requests = [...planned, ...requestsFor([before, after], random)];

    const seen = await outcomes([before, after], requests);
    expect(describeAll(requests, seen)).toEqual(describeAll(requests, predictedBy([before, after], requests)));
    expect(seen.flat().some((one) => one !== NOTHING)).toBe(true);
    expect(seen.slice(0, changes.length).map(changeOf(changes))).toEqual(changes.map(({ kind }) => kind));
    // The side that nobody serves as written is not asked.
    for (const [index, { kind, destination }] of asWritten.entries())
      expect([kind, seen[changes.length + index]![1] === destination]).toEqual([kind, kind === 'gains']);
    if (changes.length === 0) for (const [then, now] of seen) expect(now).toBe(then);
    if (before === written) expect(changes.length === 0).toBe(good);
  });
});

function sideOf(proxy: string, name: string, file: string): Side {
  return readSide(proxy, readFileSync(new URL(`corpus/${name}/${file}`, HOME), 'utf8'), file);
}

/** The same side with Ingresses of class `istio`, or the side itself. */
function withClassIstio(side: Side): Side {
  const text = side.text.replaceAll(/(?<=ingressClassName: )nginx/g, 'istio');
  return text === side.text ? side : readSide(side.proxy, text, 'before.yaml');
}

function readSide(proxy: string, text: string, file: string): Side {
  const resources = [loadManifests(SERVICES, 'services.yaml'), loadManifests(text, file)];
  return { proxy, text, resources: resources.flatMap((one) => one.resources) };
}

function changesOf(before: Side, after: Side): readonly OutsideChange[] {
  return compareOutside(before.resources, after.resources, { rootNamespace: ROOT }).changes;
}

/** No workload answers: a gateway does, or the connection ends. */
const NOTHING = 'no workload';

type Outcome = readonly string[];

/** Compares the outcomes of a witness before and after. */
function changeOf(changes: readonly OutsideChange[]) {
  return ([then, now]: Outcome, index: number): OutsideChange['kind'] | 'none' => {
    const { destination } = changes[index]!;
    if ((then === destination) === (now === destination)) return 'none';
    return now === destination ? 'gains' : 'loses';
  };
}

function predictedBy(sides: readonly Side[], requests: readonly Sent[]): readonly Outcome[] {
  const states = sides.map(({ resources }) => computeOutsideReach(resources, ROOT));
  return requests.map((request) =>
    states.map(({ destinations, decide }) => {
      const call = callOf(request);
      return destinations.find((one) => decide(call, one).reached) ?? NOTHING;
    }),
  );
}

/** Sends all requests to both sides until the outcomes are those that the analysis predicts, or patience ends. */
async function outcomes(sides: readonly [Side, Side], requests: readonly Sent[]): Promise<readonly Outcome[]> {
  const [before, after] = sides.map(({ text }) => objectsIn(text)) as [KubeObject[], KubeObject[]];
  const own = new Map(before.map((one) => [keyOf(one), JSON.stringify(one)]));
  const isShared = after.every((one) => [undefined, JSON.stringify(one)].includes(own.get(keyOf(one))));
  const each: string[][] = [];
  for (const [index, group] of (isShared ? [[...before, ...after]] : [before, after]).entries()) {
    await gateways.change([...services, ...distinct(group)]);
    const asked = isShared ? sides : [sides[index]!];
    for (const side of asked) each.push(await outcomesOf(side, requests));
  }
  return requests.map((_, index) => each.map((side) => side[index]!));
}

async function outcomesOf(side: Side, requests: readonly Sent[]): Promise<string[]> {
  const expected = predictedBy([side], requests).map(([one]) => one);
  for (const end = Date.now() + PATIENCE_MS; ; ) {
    const seen = await Promise.all(requests.map((one) => destinationOf(side, one)));
    if (Date.now() > end || seen.every((one, index) => one === expected[index])) return seen;
  }
}

async function destinationOf({ proxy }: Side, request: Sent): Promise<string> {
  const { byWorkload, body } = await gateways.send(proxy, request);
  if (!byWorkload) return NOTHING;
  const { service = 'orders', port = 80 } = JSON.parse(body) as { service?: string; port?: number };
  // The port of administrators is 8080 of its Service.
  return `${service}.shop.svc.cluster.local:${port === 9090 ? 8080 : 80}`;
}

function describeAll(requests: readonly Sent[], outcomes: readonly Outcome[]): readonly string[] {
  return requests.map(({ protocol, method, host, path, headers = {} }, index) => {
    const [before, after] = outcomes[index]!;
    return `${method} ${protocol}://${host}${path} ${JSON.stringify(headers)}: ${before} -> ${after}`;
  });
}

/** Requests that combine what the routes of both sides name, and neighbours of it. */
function requestsFor(sides: readonly Side[], random: Random): readonly Sent[] {
  const words = wordsOf(sides.map((side) => side.text).join('\n'));
  return Array.from({ length: REQUESTS }, (): Sent => {
    const protocol = pick(random, words.protocols);
    return {
      protocol,
      port: protocol === 'http' ? 80 : 443,
      host: pick(random, words.hosts),
      method: pick(random, words.methods),
      path: pick(random, words.paths) + pick(random, words.queries),
      headers: pick(random, words.headers),
    };
  });
}

interface Words {
  readonly protocols: readonly Sent['protocol'][];
  readonly hosts: readonly string[];
  readonly paths: readonly string[];
  readonly methods: readonly string[];
  readonly queries: readonly string[];
  readonly headers: readonly NonNullable<Sent['headers']>[];
}

function wordsOf(text: string): Words {
  const named = (pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, one]) => one!))];
  const hosts = named(/((?:\*|\w+)\.example\.com)/g).flatMap((one) =>
    one.startsWith('*') ? ['a', 'a.b'].map((part) => one.replace('*', part)) : [one, one.toUpperCase()],
  );
  const paths = named(/(?:path|value|exact|prefix|regex): '?(\/[\w/.-]*)/g).flatMap((one) => {
    const folder = one.replace(/\/$/, '');
    return [one, `${folder}/`, `${folder}/x`, `${one}x`, one.slice(0, -1) || '/'];
  });
  return {
    protocols: /\b80, (?:name|protocol)|kind: Ingress/.test(text) ? ['http', 'https'] : ['https'],
    hosts: [...hosts, 'other.test'],
    paths: [...paths, '/', '/v1/orders', '/v22/carts/x', '/files/a.txt', '/files/aatxt'],
    methods: ['GET', ...named(/method: (?:\{exact: )?([A-Z]+)/g), 'PUT'],
    queries: text.includes('query') ? ['', '?mode=beta', '?token=abc', '?mode=x&token='] : [''],
    headers: text.includes('eaders') ? [{}, { 'x-team': 'red' }, { 'x-team': 'blue' }] : [{}],
  };
}

function sentOf({ method, url, headers }: OutsideChange['witness']): Sent {
  const { protocol, hostname, port, pathname, search } = new URL(url);
  const secure = protocol === 'https:';
  return {
    protocol: secure ? 'https' : 'http',
    port: Number(port || (secure ? 443 : 80)),
    host: hostname,
    method,
    path: pathname + search,
    headers,
  };
}

function callOf({ protocol, port, host, method, path, headers = {} }: Sent) {
  const { pathname, searchParams } = new URL(`http://host${path}`);
  const texts = new Map([
    ['listener', `${protocol}:${port}`],
    ['host', host.toLowerCase()],
    ['method', method],
    ['path', pathname],
    ...Object.entries(headers).map(([name, value]) => [`header:${name.toLowerCase()}`, value] as const),
    ...[...searchParams].map(([name, value]) => [`query:${name}`, value] as const),
  ]);
  return { texts, flags: new Set<string>(), lists: new Map(), addresses: new Map() };
}

function distinct(objects: readonly KubeObject[]): readonly KubeObject[] {
  return [...new Map(objects.map((one) => [keyOf(one), one])).values()];
}
