/**
 * Keeps a stream to istiod open for a grant. The stream is reopened when it ends, when its token is about to expire and
 * when istiod does not respond.
 */
import { create, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createWritableIterable } from '@connectrpc/connect/protocol';
import {
  CLUSTER,
  CLUSTER_LOAD_ASSIGNMENT,
  LISTENER,
  messageFromJson,
  messageType,
  ROUTE_CONFIGURATION,
  serviceType,
  TYPE_URL_PREFIX,
} from '@meshpass/envoy';
import { MeshpassError, RELAY_ACCOUNT } from '@meshpass/identity';
import { pause } from '../../base/index.ts';
import { backoff, jittered } from '../backoff.ts';
import type { IstiodConnection } from '../istiod/istiod.ts';
import { TOKEN_SECONDS } from '../kubernetes/kubernetes.ts';
import {
  edsServiceName,
  nameOf,
  parseClusterName,
  type RawResources,
  routeConfigurationNames,
} from './transform/resources.ts';

/**
 * Contains everything that is needed to get configuration from istiod, including the connection and the credentials. It
 * is provided by connect-mesh.ts.
 */
export interface RelaySource {
  /**
   * A connection that is only used for streams, so that its limits and its lifetime do not affect certificate requests.
   */
  readonly connection: IstiodConnection;
  /**
   * Requests a token for the relay's ServiceAccount in the namespace of a grant.
   * @throws MeshpassError `kubernetes_unavailable`
   */
  readonly token: (namespace: string, signal: AbortSignal) => Promise<string>;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  /** The request header that carries the identity token. */
  readonly tokenHeader: string;
}

export interface FollowOptions {
  /** The grant's namespace, `meshpass-GRANT`. */
  readonly namespace: string;
  readonly source: Pick<RelaySource, 'connection' | 'token' | 'clusterDomain'>;
  /** Returns whether a cluster is needed, given the name that istiod uses for it. */
  readonly wants: (cluster: string) => boolean;
  readonly onResources: (resources: RawResources) => void;
  readonly onFailure: (cause: unknown) => void;
}

export type FollowHandle = ReturnType<typeof followGrant>;

/** The maximum age of a stream, in milliseconds. A stream must not outlive its token. */
const STREAM_MS = (TOKEN_SECONDS - 60) * 1_000;
/**
 * The timeout for the first response, in milliseconds. istiod usually responds within a second, but it may take longer
 * in a large mesh.
 */
const FIRST_ANSWER_MS = 30_000;
const SILENT = 'it accepted the stream but sent nothing';

/**
 * Starts following the configuration of a grant. Failures are reported and retried. Resources that have been delivered
 * stay valid in the meantime.
 */
export function followGrant(options: FollowOptions) {
  const stopping = new AbortController();
  let attempt = new AbortController();
  let failures = 0;

  const once = async (signal: AbortSignal): Promise<void> => {
    const { namespace, source } = options;
    const token = await source.token(namespace, signal);
    const transport = source.connection.transport();
    if (!transport) throw unavailable('the mesh roots are not known yet');
    const silent = setTimeout(() => attempt.abort(SILENT), FIRST_ANSWER_MS);
    const old = setTimeout(() => attempt.abort(), jittered(STREAM_MS));
    try {
      const onResources = (resources: RawResources) => {
        clearTimeout(silent);
        failures = 0;
        if (!signal.aborted) options.onResources(resources);
      };
      await followAds({ ...options, onResources }, transport, token, signal);
    } finally {
      clearTimeout(silent);
      clearTimeout(old);
    }
  };

  const follow = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      attempt = new AbortController();
      const signal = AbortSignal.any([attempt.signal, stopping.signal]);
      try {
        await once(signal);
      } catch (thrown) {
        if (signal.aborted && attempt.signal.reason !== SILENT) continue;
        options.onFailure(signal.aborted ? unavailable(SILENT) : shown(thrown));
      }
      await pause(backoff(failures++), stopping.signal);
    }
  };

  void follow();
  return {
    /** Reopens the stream and requests everything again. Call this when a different set of clusters is needed. */
    restart: () => attempt.abort(),
    stop: () => stopping.abort(),
  };
}

/** Reduces an error to istiod's message and leaves out anything that comes from the request. */
function shown(thrown: unknown): unknown {
  if (thrown instanceof MeshpassError) return thrown;
  const error = ConnectError.from(thrown);
  return unavailable(`${Code[error.code]}: ${error.rawMessage}`.slice(0, 500));
}

function unavailable(said: string): MeshpassError {
  return new MeshpassError('configuration_unavailable', 'istiod is not responding. The last configuration stays.', {
    detail: { said },
    retryAfter: 2,
  });
}

// The relay identifies itself to istiod as an Envoy node that is a sidecar in the grant's namespace. None of these
// values come from a workspace.

/**
 * An address that is reserved for documentation (RFC 5737). Pods and Services never have it, so istiod cannot mistake
 * the relay for one of them.
 */
const ADDRESS = '203.0.113.10';
/**
 * The Istio version that the relay claims to have. istiod does not use features that sidecars of this version do not
 * understand.
 */
const ISTIO_VERSION = '1.31.0';

/**
 * Builds the Envoy node that identifies the relay to istiod.
 * @param namespace the grant's namespace, `meshpass-GRANT`
 */
function relayNode(namespace: string, clusterDomain: string): Message {
  return messageFromJson('envoy.config.core.v3.Node', {
    id: `sidecar~${ADDRESS}~${RELAY_ACCOUNT}.${namespace}~${namespace}.svc.${clusterDomain}`,
    cluster: `${RELAY_ACCOUNT}.${namespace}`,
    metadata: {
      NAMESPACE: namespace,
      SERVICE_ACCOUNT: RELAY_ACCOUNT,
      // The relay does not actually intercept traffic, but in this mode, istiod creates one listener per service
      // instead of one per port number.
      INTERCEPTION_MODE: 'REDIRECT',
      CLUSTER_ID: 'Kubernetes',
      LABELS: { app: RELAY_ACCOUNT },
      INSTANCE_IPS: ADDRESS,
      ISTIO_VERSION,
    },
  });
}

// A client for an ADS stream (state of the world) to istiod. It subscribes to clusters and listeners, and to the routes
// and endpoints that they reference. Only complete states are delivered, so a cluster is held back until its endpoints
// have arrived.

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
 * Opens the stream and processes its messages. Resolves when istiod ends the stream. Aborting the signal also ends it.
 * @throws Error if the stream ends for any other reason, such as an error from Connect or an exceeded limit
 */
async function followAds(
  { namespace, source, wants, onResources }: FollowOptions,
  transport: Transport,
  token: string,
  signal: AbortSignal,
): Promise<void> {
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
      ...(isFirst && { node: relayNode(namespace, source.clusterDomain) }),
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
      const wanted = byName(resources, (name) => parseClusterName(name) !== undefined && wants(name));
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

  const client = createClient(serviceType('envoy.service.discovery.v3.AggregatedDiscoveryService'), transport);
  const stream = client.streamAggregatedResources as unknown as (
    requests: AsyncIterable<Message>,
    how: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
  ) => AsyncIterable<Discovered>;
  send(CLUSTER, clusters);
  try {
    const headers = { authorization: `Bearer ${token}` };
    for await (const answer of stream(outbox, { headers, signal })) {
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
        onResources({
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
