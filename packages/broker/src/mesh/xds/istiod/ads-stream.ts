/**
 * Client for an ADS stream (state of the world) to istiod. It subscribes to clusters and listeners, and to the routes
 * and endpoints that they reference. It delivers only complete states, so a cluster waits for its endpoints.
 */
import { create, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { createClient, type Transport } from '@connectrpc/connect';
import { createWritableIterable } from '@connectrpc/connect/protocol';
import {
  CLUSTER,
  CLUSTER_LOAD_ASSIGNMENT,
  LISTENER,
  messageType,
  ROUTE_CONFIGURATION,
  serviceType,
  TYPE_URL_PREFIX,
} from '@meshpass/envoy';
import { endpointsNameOf, routeNamesOf } from '../transform/references.ts';
import { clusterOf, nameOf, type RawResources } from '../transform/resources.ts';

export interface AdsOptions {
  readonly transport: Transport;
  readonly node: Message;
  readonly token: string;
  /** Whether a cluster, by istiod's name, is needed. */
  readonly wants: (cluster: string) => boolean;
  readonly onResources: (resources: RawResources) => void;
  /** Ends the stream. */
  readonly signal: AbortSignal;
}

/**
 * Maximum resources of one type per response. If the grant has no Sidecar, a response contains every Service of the
 * cluster.
 */
const MAX_RESOURCES = 20_000;
/** Maximum subscribed names. */
const MAX_NAMES = 4_096;

interface Discovered extends Message {
  readonly versionInfo: string;
  readonly resources: readonly Any[];
  readonly typeUrl: string;
  readonly nonce: string;
}

interface Acknowledged {
  version: string;
  nonce: string;
}

/**
 * Runs the stream. Resolves when istiod ends it.
 * @throws any other cause: an error of Connect, or an exceeded limit
 */
export async function followAds(options: AdsOptions): Promise<void> {
  const outbox = createWritableIterable<Message>();
  const acknowledged = new Map<string, Acknowledged>();
  const names = new Map<string, readonly string[]>([
    [CLUSTER, []],
    [LISTENER, []],
  ]);
  const found = new Map<string, Map<string, Any>>();
  let clusters: ReadonlyMap<string, Any> | undefined;
  let listeners: ReadonlyMap<string, Any> | undefined;

  const send = (type: string) => {
    const { version = '', nonce = '' } = acknowledged.get(type) ?? {};
    const first = acknowledged.size === 0;
    const request = create(messageType('envoy.service.discovery.v3.DiscoveryRequest'), {
      typeUrl: TYPE_URL_PREFIX + type,
      versionInfo: version,
      responseNonce: nonce,
      resourceNames: [...(names.get(type) ?? [])],
      ...(first && { node: options.node }),
    } as Record<string, unknown>);
    // A write fails only if the stream has ended, which the loop over its responses reports.
    outbox.write(request).catch(() => {});
  };

  /** Subscribes to exactly these names and drops other resources. */
  const subscribe = (type: string, wanted: ReadonlySet<string>) => {
    if (wanted.size > MAX_NAMES) throw new Error(`istiod references too many ${type} resources: ${wanted.size}`);
    const sorted = [...wanted].sort();
    const before = names.get(type) ?? [];
    const known = found.get(type) ?? new Map<string, Any>();
    found.set(type, new Map([...known].filter(([name]) => wanted.has(name))));
    if (sorted.join('\n') === before.join('\n')) return;
    names.set(type, sorted);
    if (sorted.length > 0 || before.length > 0) send(type);
  };

  const take = (type: string, resources: readonly Any[]): void => {
    if (resources.length > MAX_RESOURCES)
      throw new Error(`istiod sent too many ${type} resources: ${resources.length}`);
    if (type === CLUSTER) {
      clusters = byName(resources, (name) => clusterOf(name) !== undefined && options.wants(name));
      subscribe(CLUSTER_LOAD_ASSIGNMENT, new Set([...clusters.values()].flatMap((any) => endpointsNameOf(any) ?? [])));
    } else if (type === LISTENER) {
      listeners = byName(resources, isServiceListener);
      subscribe(ROUTE_CONFIGURATION, new Set([...listeners.values()].flatMap(routeNamesOf)));
    } else {
      const wanted = new Set(names.get(type));
      const known = found.get(type) ?? new Map<string, Any>();
      for (const [name, any] of byName(resources, (one) => wanted.has(one))) known.set(name, any);
      found.set(type, known);
    }
  };

  const isWhole = () =>
    clusters !== undefined &&
    listeners !== undefined &&
    [ROUTE_CONFIGURATION, CLUSTER_LOAD_ASSIGNMENT].every((type) =>
      (names.get(type) ?? []).every((name) => found.get(type)?.has(name)),
    );

  const client = createClient(serviceType('envoy.service.discovery.v3.AggregatedDiscoveryService'), options.transport);
  const stream = client.streamAggregatedResources as unknown as (
    requests: AsyncIterable<Message>,
    how: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
  ) => AsyncIterable<Discovered>;
  send(CLUSTER);
  try {
    const headers = { authorization: `Bearer ${options.token}` };
    for await (const answer of stream(outbox, { headers, signal: options.signal })) {
      const type = answer.typeUrl.slice(TYPE_URL_PREFIX.length);
      const isFirst = acknowledged.size === 0;
      if (![CLUSTER, LISTENER, ROUTE_CONFIGURATION, CLUSTER_LOAD_ASSIGNMENT].includes(type)) continue;
      acknowledged.set(type, { version: answer.versionInfo, nonce: answer.nonce });
      send(type);
      if (isFirst) send(LISTENER);
      take(type, answer.resources);
      if (isWhole())
        options.onResources({
          clusters: clusters!,
          listeners: listeners!,
          routes: new Map(found.get(ROUTE_CONFIGURATION)),
          endpoints: new Map(found.get(CLUSTER_LOAD_ASSIGNMENT)),
        });
    }
  } finally {
    outbox.close();
  }
}

/**
 * Whether a listener belongs to a service. `virtualInbound` and `virtualOutbound` are for iptables. Inbound listeners
 * contain root policies and are not for workspaces.
 */
function isServiceListener(name: string): boolean {
  return !name.startsWith('virtual');
}

function byName(resources: readonly Any[], keep: (name: string) => boolean = () => true): Map<string, Any> {
  const named = new Map<string, Any>();
  for (const any of resources) {
    const name = nameOf(any);
    if (name !== undefined && keep(name)) named.set(name, any);
  }
  return named;
}
