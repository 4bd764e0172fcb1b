/** Stream to istiod, over Connect's own transport: requests and acknowledgements, and the replacement of a stream. */
import { create, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { createRouterTransport } from '@connectrpc/connect';
import { messageFromJson, messageType, pack, serviceType } from '@meshpass/envoy';
import { afterEach, expect, it, vi } from 'vitest';
import { type FollowHandle, type FollowOptions, followGrant } from '../../src/mesh/xds/follow-grant.ts';
import type { RawResources } from '../../src/mesh/xds/transform/resources.ts';
import { istiodAnswers, ORDERS_CLUSTER, rawOf } from './istiod-answers.ts';

interface Request extends Message {
  readonly typeUrl: string;
  readonly resourceNames: readonly string[];
  readonly responseNonce: string;
  readonly versionInfo: string;
  readonly node?: { readonly id: string; readonly metadata: Record<string, unknown> };
}

type Answer = (request: Request) => readonly Any[] | 'end' | undefined;

const PREFIX = 'type.googleapis.com/envoy.config.';
const raw = rawOf(istiodAnswers());
const kinds: Record<string, ReadonlyMap<string, Any>> = {
  'cluster.v3.Cluster': raw.clusters,
  'listener.v3.Listener': raw.listeners,
  'route.v3.RouteConfiguration': raw.routes,
  'endpoint.v3.ClusterLoadAssignment': raw.endpoints,
};

/** Answers first requests, and no acknowledgements. */
const honest: Answer = ({ typeUrl, resourceNames, responseNonce }) => {
  const all = [...(kinds[typeUrl.slice(PREFIX.length)] ?? [])];
  const named = resourceNames.length === 0 ? all : all.filter(([name]) => resourceNames.includes(name));
  return responseNonce !== '' && resourceNames.length === 0 ? undefined : named.map(([, any]) => any);
};

const PATIENCE = 60_000;

let following: FollowHandle | undefined;
afterEach(() => following?.stop());

function follow(answer: Answer, more: Partial<FollowOptions> = {}) {
  const streams: { readonly requests: Request[]; readonly authorization: string | null }[] = [];
  const received: RawResources[] = [];
  const failures: unknown[] = [];
  const service = serviceType('envoy.service.discovery.v3.AggregatedDiscoveryService');
  const transport = createRouterTransport(({ service: serve }) => {
    serve(service, {
      async *streamAggregatedResources(requests: AsyncIterable<Request>, context: { requestHeader: Headers }) {
        const stream = { requests: [] as Request[], authorization: context.requestHeader.get('authorization') };
        streams.push(stream);
        const answered = new Set<string>();
        let nonce = 0;
        for await (const request of requests) {
          stream.requests.push(request);
          const key = `${request.typeUrl} ${request.resourceNames.join()}`;
          const resources = answered.has(key) ? undefined : answer(request);
          if (resources === 'end') return;
          if (!resources) continue;
          answered.add(key);
          nonce += 1;
          yield create(messageType('envoy.service.discovery.v3.DiscoveryResponse'), {
            typeUrl: request.typeUrl,
            resources: [...resources],
            nonce: `n${nonce}`,
            versionInfo: `v${nonce}`,
          } as Record<string, unknown>);
        }
      },
    } as never);
  });
  following = followGrant({
    namespace: 'meshpass-dev',
    source: {
      clusterDomain: 'cluster.local',
      connection: { transport: () => transport, close: () => {} },
      token: async () => `token-${streams.length}`,
    },
    wants: () => true,
    onResources: (resources) => received.push(resources),
    onFailure: (cause) => failures.push(cause),
    ...more,
  });
  return { streams, received, failures };
}

it('requests only clusters, listeners, routes and endpoints', async () => {
  const { streams, received } = follow(honest);
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(0), PATIENCE);
  const types = new Set(streams[0]!.requests.map(({ typeUrl }) => typeUrl.slice(PREFIX.length)));
  expect(types).toEqual(new Set(Object.keys(kinds)));
  expect(streams[0]!.authorization).toBe('Bearer token-0');
});

it('identifies itself on the first request as the relay of the namespace', async () => {
  const { streams, received } = follow(honest);
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(0), PATIENCE);
  const [first, ...rest] = streams[0]!.requests;
  expect(first!.node).toMatchObject({
    id: 'sidecar~203.0.113.10~meshpass-relay.meshpass-dev~meshpass-dev.svc.cluster.local',
    metadata: { NAMESPACE: 'meshpass-dev', SERVICE_ACCOUNT: 'meshpass-relay' },
  });
  expect(rest.every(({ node }) => node === undefined)).toBe(true);
});

it('forwards only complete sets: every cluster with its endpoints, every listener with its routes', async () => {
  const held: string[] = [];
  const { received, streams } = follow((request) => {
    if (!request.typeUrl.endsWith('ClusterLoadAssignment')) return honest(request);
    held.push(...request.resourceNames);
    return request.resourceNames.length > 0 && held.length > 4 ? honest(request) : [];
  });
  await vi.waitFor(() => expect(held.length).toBeGreaterThan(0), PATIENCE);
  await vi.waitFor(
    () => expect(streams[0]!.requests.some(({ typeUrl }) => typeUrl.endsWith('RouteConfiguration'))).toBe(true),
    PATIENCE,
  );
  expect(received).toEqual([]);
});

it('acknowledges each answer by its nonce', async () => {
  const { streams, received } = follow(honest);
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(0), PATIENCE);
  const acknowledged = streams[0]!.requests.filter(({ responseNonce }) => responseNonce !== '');
  expect(acknowledged.length).toBeGreaterThanOrEqual(2);
  for (const { responseNonce, versionInfo } of acknowledged) expect(versionInfo.slice(1)).toBe(responseNonce.slice(1));
});

it('keeps nothing of clusters that are not wanted, and does not ask for their endpoints', async () => {
  const { streams, received } = follow(honest, { wants: (name) => name === ORDERS_CLUSTER });
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(0), PATIENCE);
  expect([...received[0]!.clusters.keys()]).toEqual([ORDERS_CLUSTER]);
  const endpoints = streams[0]!.requests.filter(({ typeUrl }) => typeUrl.endsWith('ClusterLoadAssignment'));
  expect(new Set(endpoints.flatMap(({ resourceNames }) => resourceNames))).toEqual(new Set([ORDERS_CLUSTER]));
});

it('opens a stream with a new token when istiod ends it', async () => {
  const { streams } = follow(() => 'end');
  await vi.waitFor(() => expect(streams.length).toBeGreaterThanOrEqual(2), PATIENCE);
  expect(streams.map(({ authorization }) => authorization).slice(0, 2)).toEqual(['Bearer token-0', 'Bearer token-1']);
});

it('requests again at once when more is wanted', async () => {
  const { streams, received } = follow(honest);
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(0), PATIENCE);
  following!.restart();
  await vi.waitFor(() => expect(streams).toHaveLength(2), PATIENCE);
});

it('reports a failure without the token, and continues', async () => {
  let attempts = 0;
  const { failures, received } = follow(honest, {
    source: {
      clusterDomain: 'cluster.local',
      token: async () => 'token-0',
      connection: {
        transport: () => {
          attempts += 1;
          if (attempts === 1) throw new Error('no way to istiod');
          return undefined;
        },
        close: () => {},
      },
    },
  });
  await vi.waitFor(() => expect(failures.length).toBeGreaterThanOrEqual(2), PATIENCE);
  expect(JSON.stringify(failures)).not.toContain('token-');
  expect(failures[0]).toMatchObject({ code: 'configuration_unavailable' });
  expect(received).toEqual([]);
});

it('refuses an answer with more resources than it holds', async () => {
  const one = pack(messageFromJson('envoy.config.cluster.v3.Cluster', { name: ORDERS_CLUSTER }));
  const { failures, received } = follow(() => Array.from({ length: 20_001 }, () => one));
  await vi.waitFor(() => expect(failures.length).toBeGreaterThan(0), PATIENCE);
  expect(JSON.stringify((failures[0] as { detail: unknown }).detail)).toContain('resources: 20001');
  expect(received).toEqual([]);
});
