/**
 * Decisions about calls from outside, compared with a real gateway: generated Gateways, routes and policies go through
 * istiod to Envoy, generated calls are sent to it, and each must end as predicted: at the same route and destination, or
 * with the same status. `npm run differential:gateway` makes 3,000 of them.
 */
import { canIOutside, type OutsideAnswers, type OutsideRequest } from '@meshpass/analysis/evaluate';
import { viewMesh } from '@meshpass/istio';
import { type Lab, upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { randomFrom } from './differential/random.ts';
import type { Seen } from './gateways/client.ts';
import { GATEWAYS, generateObjects, PORT } from './gateways/generate.ts';
import { generateCall } from './gateways/generate-calls.ts';
import { type GatewayHarness, openGatewayHarness } from './gateways/harness.ts';

const ROUNDS = Number(process.env.MESHPASS_GATEWAY_ROUNDS ?? 10);
const CALLS = Number(process.env.MESHPASS_GATEWAY_CALLS ?? 100);
const SEED = Number(process.env.MESHPASS_GATEWAY_SEED ?? 20261130);
/** Share of calls about which nothing may be predicted. */
const MOST_UNKNOWN = 0.2;

let lab: Lab;
let harness: GatewayHarness;
const tally = new Map<string, number>();

beforeAll(async () => {
  lab = await upLab();
  harness = await openGatewayHarness(lab);
});
afterAll(async () => {
  await harness?.close();
  await lab?.down();
});

it('sees the address that trusted proxies add', async () => {
  const metadata = { name: 'trusted-proxies', namespace: GATEWAYS };
  const selected = { labels: { istio: 'meshpass-gateway' } };
  // The setting of Envoy that `gatewayTopology.numTrustedProxies` becomes, which only a restarted proxy reads.
  const manager = 'envoy.filters.network.http_connection_manager';
  const type = `type.googleapis.com/${manager.replace('envoy.', 'envoy.extensions.')}.v3.HttpConnectionManager`;
  const patch = { operation: 'MERGE', value: { typed_config: { '@type': type, xff_num_trusted_hops: 1 } } };
  const match = { context: 'GATEWAY', listener: { filterChain: { filter: { name: manager } } } };
  const configPatches = [{ applyTo: 'NETWORK_FILTER', match, patch }];
  const source = { remoteIpBlocks: ['192.0.2.7'] };
  const host = 'proxied.example';
  const route = {
    headers: { response: { set: { 'x-route': 'proxied.0' } } },
    route: [{ destination: { host: 'one.shop.svc.cluster.local', port: { number: 80 } } }],
  };
  const mesh = await harness.enforce([
    {
      apiVersion: 'networking.istio.io/v1alpha3',
      kind: 'EnvoyFilter',
      metadata,
      spec: { workloadSelector: selected, configPatches },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata,
      spec: {
        selector: selected.labels,
        servers: [{ port: { number: PORT.http, name: 'http', protocol: 'HTTP' }, hosts: [host] }],
      },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'proxied', namespace: GATEWAYS },
      spec: { hosts: [host], gateways: [metadata.name], http: [route] },
    },
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata,
      spec: { selector: { matchLabels: selected.labels }, rules: [{ from: [{ source }] }] },
    },
  ]);
  const resources = mesh.resources.filter(({ kind }) => kind !== 'EnvoyFilter');
  const configured = viewMesh(resources, { ...mesh.config, trustedProxies: 1 });
  const statuses: unknown[] = [];
  for (const forwarded of ['192.0.2.7', '192.0.2.7, 203.0.113.1', '203.0.113.1, 192.0.2.7', '192.0.2.7,', undefined]) {
    const headers: Record<string, string> = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
    const http = { method: 'GET', path: '/', authority: host, headers };
    const request = { port: PORT.http, http, sourceIp: harness.world.addresses[0]! };
    const seen = await harness.send(request);
    const [answer] = canIOutside(configured, request).answers;
    expect(seen.status, String(forwarded)).toBe(answer!.status ?? 200);
    statuses.push(seen.status);
  }
  expect(statuses).toContain(200);
  expect(statuses).toContain(403);
});

it.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i of gateways and calls', async (round) => {
  const random = randomFrom(SEED + round);
  const objects = generateObjects(random, harness.world, round);
  const mesh = await harness.enforce(objects);
  const disagreements: object[] = [];
  for (let count = 0; count < CALLS; count++) {
    const request = await generateCall(random, harness.world);
    const answers = canIOutside(mesh, request);
    const seen = await harness.send(request);
    const kind = kindOf(answers);
    tally.set(kind, (tally.get(kind) ?? 0) + 1);
    if (kind !== 'unknown' && !agrees(answers, seen)) disagreements.push(shown(request, answers, seen));
  }
  expect(disagreements.length, report(SEED + round, disagreements, objects)).toBe(0);
});

it('predicts most calls, of every kind', () => {
  console.log(`calls: ${[...tally].map(([kind, count]) => `${count} ${kind}`).join(', ')}`);
  const total = [...tally.values()].reduce((sum, count) => sum + count, 0);
  expect((tally.get('unknown') ?? 0) / total).toBeLessThan(MOST_UNKNOWN);
  for (const kind of ['reached', 'route', 'gateway', 'workload', 'tls'])
    expect(tally.get(kind) ?? 0, kind).toBeGreaterThan(0);
});

function kindOf({ answers }: OutsideAnswers): string {
  const [first] = answers;
  if (answers.some(({ verdict }) => verdict === 'unknown')) return 'unknown';
  return first!.verdict === 'yes' ? 'reached' : first!.by;
}

/** Whether one of the answers is what was seen; a route with weights has several destinations. */
function agrees({ answers }: OutsideAnswers, seen: Seen): boolean {
  return answers.some(({ verdict, by, status, destination, route }) => {
    if (seen.forwarded !== (by === 'workload')) return false;
    // Policies of the gateway refuse requests before it answers by a route, which may still add headers.
    if (by !== 'gateway' && (destination !== seen.destination || nameOf(route) !== seen.route)) return false;
    if (verdict === 'yes') return seen.status === 200;
    return seen.status === (by === 'tls' || by === 'listener' ? 'closed' : status);
  });
}

/** Name that the generated route sends: `r0-1.2` for `VirtualService/shop/r0-1 spec.http.2`. */
function nameOf(route: { readonly file: string } | undefined): string | undefined {
  const [, name, index] = /^\w+\/[^/]+\/(\S+) spec\.http\.(\d+)/.exec(route?.file ?? '') ?? [];
  return name === undefined ? undefined : `${name}.${index}`;
}

function shown({ tokens, ...request }: OutsideRequest, { answers }: OutsideAnswers, seen: Seen): object {
  const told = answers.map(({ decision, place, ...answer }) => ({
    ...answer,
    place: place && `${place.file}`,
    rule: decision?.rule && `${decision.rule.namespace}/${decision.rule.name}`,
    reason: `${answer.reason} ${decision?.reason ?? ''}`,
  }));
  const claims = tokens?.map((one) => ({ claims: one.claims, genuine: one.genuine }));
  return { seen, told, request: { ...request, tokens: claims } };
}

/** One line per call, and one per object. */
function report(seed: number, disagreements: readonly object[], objects: readonly KubeObject[]): string {
  const line = (object: object) =>
    JSON.stringify(object, (key, value) =>
      key === 'jwks' || key === 'apiVersion' || key === 'authorization' ? undefined : value,
    );
  return [`seed ${seed}`, ...disagreements.slice(0, 10).map(line), ...objects.map(line)].join('\n');
}
