/**
 * A client for an ADS stream (state of the world) to istiod. It subscribes to clusters and listeners, and to the routes
 * and endpoints that they reference. Only complete states are delivered, so a cluster is held back until its endpoints
 * have arrived.
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
import {
  edsServiceName,
  nameOf,
  parseClusterName,
  type RawResources,
  routeConfigurationNames,
} from '../transform/resources.ts';

export interface AdsOptions {
  readonly transport: Transport;
  readonly node: Message;
  readonly token: string;
  /** Returns whether a cluster is needed, given the name that istiod uses for it. */
  readonly wants: (cluster: string) => boolean;
  readonly onResources: (resources: RawResources) => void;
  /** Aborting this signal ends the stream. */
  readonly signal: AbortSignal;
}

/**
 * The maximum number of resources of one type in a response. Without a Sidecar resource for the grant, a response
 * contains every Service in the cluster.
 */
const MAX_RESOURCES = 20_000;
/** The maximum number of names that a subscription can contain. */
const MAX_NAMES = 4_096;

interface Discovered extends Message {
  readonly versionInfo: string;
  readonly resources: readonly Any[];
  readonly typeUrl: string;
  readonly nonce: string;
}

/** A subscription to one type of resource. */
interface Subscription {
  /** The names to subscribe to. An empty list subscribes to all resources of this type. */
  names: readonly string[];
  /** The resources by name, or undefined until the first response has arrived. */
  resources: ReadonlyMap<string, Any> | undefined;
  version: string;
  nonce: string;
}

/**
 * Opens the stream and processes its messages. Resolves when istiod ends the stream.
 * @throws Error if the stream ends for any other reason, such as an error from Connect or an exceeded limit
 */
export async function followAds(options: AdsOptions): Promise<void> {
  const outbox = createWritableIterable<Message>();
  const subscription = (resources?: ReadonlyMap<string, Any>): Subscription => {
    return { names: [], resources, version: '', nonce: '' };
  };
  const clusters = subscription();
  const listeners = subscription();
  const routes = subscription(new Map());
  const endpoints = subscription(new Map());
  const subscriptions = new Map([
    [CLUSTER, clusters],
    [LISTENER, listeners],
    [ROUTE_CONFIGURATION, routes],
    [CLUSTER_LOAD_ASSIGNMENT, endpoints],
  ]);
  let isFirst = true;

  const send = (type: string, { names, version, nonce }: Subscription) => {
    const request = create(messageType('envoy.service.discovery.v3.DiscoveryRequest'), {
      typeUrl: TYPE_URL_PREFIX + type,
      versionInfo: version,
      responseNonce: nonce,
      resourceNames: [...names],
      ...(isFirst && { node: options.node }),
    } as Record<string, unknown>);
    // A write can only fail if the stream has ended. The loop over the responses reports that.
    outbox.write(request).catch(() => {});
  };

  /** Subscribes to exactly these names and drops the resources with any other name. */
  const subscribe = (type: string, one: Subscription, wanted: ReadonlySet<string>) => {
    if (wanted.size > MAX_NAMES) throw new Error(`istiod references too many ${type} resources: ${wanted.size}`);
    const names = [...wanted].sort();
    one.resources = new Map([...one.resources!].filter(([name]) => wanted.has(name)));
    if (names.join('\n') === one.names.join('\n')) return;
    one.names = names;
    send(type, one);
  };

  const take = (one: Subscription, resources: readonly Any[]): void => {
    if (one === clusters) {
      const wanted = byName(resources, (name) => parseClusterName(name) !== undefined && options.wants(name));
      one.resources = wanted;
      subscribe(
        CLUSTER_LOAD_ASSIGNMENT,
        endpoints,
        new Set([...wanted.values()].flatMap((any) => edsServiceName(any) ?? [])),
      );
    } else if (one === listeners) {
      const wanted = byName(resources, isServiceListener);
      one.resources = wanted;
      subscribe(ROUTE_CONFIGURATION, routes, new Set([...wanted.values()].flatMap(routeConfigurationNames)));
    } else {
      const wanted = new Set(one.names);
      one.resources = new Map([...one.resources!, ...byName(resources, (name) => wanted.has(name))]);
    }
  };

  const isWhole = () =>
    [...subscriptions.values()].every(
      ({ names, resources }) => names.every((name) => resources?.has(name)) && resources,
    );

  const client = createClient(serviceType('envoy.service.discovery.v3.AggregatedDiscoveryService'), options.transport);
  const stream = client.streamAggregatedResources as unknown as (
    requests: AsyncIterable<Message>,
    how: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
  ) => AsyncIterable<Discovered>;
  send(CLUSTER, clusters);
  try {
    const headers = { authorization: `Bearer ${options.token}` };
    for await (const answer of stream(outbox, { headers, signal: options.signal })) {
      const type = answer.typeUrl.slice(TYPE_URL_PREFIX.length);
      const one = subscriptions.get(type);
      if (!one) continue;
      if (answer.resources.length > MAX_RESOURCES)
        throw new Error(`istiod sent too many ${type} resources: ${answer.resources.length}`);
      one.version = answer.versionInfo;
      one.nonce = answer.nonce;
      const wasFirst = isFirst;
      isFirst = false;
      send(type, one);
      if (wasFirst) send(LISTENER, listeners);
      take(one, answer.resources);
      if (isWhole())
        options.onResources({
          clusters: clusters.resources!,
          listeners: listeners.resources!,
          routes: routes.resources!,
          endpoints: endpoints.resources!,
        });
    }
  } finally {
    outbox.close();
  }
}

/**
 * Whether a listener belongs to a service. `virtualInbound` and `virtualOutbound` only exist for iptables redirection.
 * Inbound listeners contain the root policies, which workspaces must not receive.
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
