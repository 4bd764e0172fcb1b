/**
 * Converts the broker's configuration to Envoy's. The configuration is validated as a whole before the agent adds its
 * own parts. If it violates any rule, it is discarded and the previous one stays in use.
 */
import type { JsonObject, Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import {
  CLUSTER,
  type ExpectedValues,
  LISTENER,
  messageFromJson,
  pack,
  type Refusal,
  ROUTE_CONFIGURATION,
  readConfiguration,
  unpack,
  type WorkspaceConfiguration,
} from '@meshpass/envoy';
import { memoize } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import { httpAccessLog, tcpAccessLog } from '../access-log/loggers.ts';
import type { EnvoyResources } from './discovery.ts';
import { explainFilter, foreignCallerFilter, localReplies, removeForgedTokenHeader } from './http-filters.ts';
import { addSessionToRefusals } from './route-refusals.ts';
import { withUpstreamFilters } from './upstream-filters.ts';

const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const ACCESS_LOG = 'envoy.config.accesslog.v3.AccessLog';
const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter';

/** Properties of the session that are not part of the configuration itself. */
export interface SessionFacts {
  readonly services: readonly ReachableService[];
  readonly sessionId: string;
  /** The contact for access requests, as specified in the access file. */
  readonly contact?: string | undefined;
  /** Returns whether Envoy may listen on a port. */
  readonly mayListenOn: (port: number) => boolean;
}

export interface AcceptedConfiguration {
  readonly refused?: undefined;
  readonly resources: EnvoyResources;
  /** The addresses of all listeners that serve programs, such as `127.64.1.2:8080`. */
  readonly addresses: ReadonlySet<string>;
  /**
   * The names of listeners on addresses that Envoy may not listen on, by address. Programs can only reach these
   * listeners through the proxy.
   */
  readonly internal: ReadonlyMap<string, string>;
}

/**
 * Checks a configuration and adds the agent's own parts to it.
 * @returns the resources for Envoy, or the reasons why the agent discards the configuration
 */
export function acceptConfiguration(
  configuration: WorkspaceConfiguration,
  expected: ExpectedValues,
  facts: SessionFacts,
): AcceptedConfiguration | { readonly refused: readonly Refusal[] } {
  const read = readConfiguration(configuration, expected);
  if (read.refusals.length > 0) return { refused: read.refusals };
  const own = createOwnParts(facts, expected.tokenHeader);
  const addresses = new Set<string>();
  const internal = new Map<string, string>();
  const listeners = read.listeners.map((message) => {
    const listener = message as ListenerMessage;
    const at = addressOf(listener);
    if (at === undefined) return listener;
    completed(listener, at, own);
    if (facts.mayListenOn(Number(at.slice(at.lastIndexOf(':') + 1)))) {
      addresses.add(at);
      return opened(listener);
    }
    internal.set(at, listener.name);
    return closed(listener);
  });
  // The checked messages are encoded again, to remove anything in the broker's bytes that another parser might
  // interpret differently.
  const byName = (messages: readonly Message[]) => new Map(messages.map((one) => [(one as Named).name, pack(one)]));
  return {
    addresses,
    internal,
    resources: {
      [CLUSTER]: byName(read.clusters.map((one) => withUpstreamFilters(one, expected.tokenHeader))),
      [LISTENER]: byName(listeners),
      [ROUTE_CONFIGURATION]: byName(read.routes.map((one) => addSessionToRefusals(one, facts.sessionId))),
    },
  };
}

/**
 * Configures a single socket that all threads share fairly. If every thread had its own socket (SO_REUSEPORT), another
 * process of the same user could listen on the same address and receive some of the connections.
 */
function opened(listener: ListenerMessage): ListenerMessage {
  listener.enableReusePort = false;
  listener.connectionBalanceConfig = messageFromJson('envoy.config.listener.v3.Listener.ConnectionBalanceConfig', {
    exact_balance: {},
  });
  return listener;
}

/** Converts a listener to an internal listener, which has no socket. */
function closed(listener: ListenerMessage): ListenerMessage {
  listener.address = undefined;
  listener.listenerSpecifier = {
    case: 'internalListener',
    value: messageFromJson('envoy.config.listener.v3.Listener.InternalListenerConfig', {}),
  };
  return listener;
}

/** Adds the agent's own parts to a listener that serves programs. */
function completed(listener: ListenerMessage, at: string, own: OwnParts): void {
  for (const { filters } of [
    ...listener.filterChains,
    ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : []),
  ]) {
    for (const filter of filters) {
      const found = filter.configType.value && unpack(filter.configType.value);
      if (found?.$typeName === MANAGER) {
        const manager = found as ManagerMessage;
        manager.httpFilters.unshift(...own.filters(at));
        manager.earlyHeaderMutationExtensions.push(own.dropForgedToken);
        // The request ID is included in error responses and in the broker's audit log.
        manager.generateRequestId = true;
        manager.accessLog.push(own.httpLog);
        manager.localReplyConfig = own.localReplies;
        filter.configType.value = pack(manager);
      } else if (found?.$typeName === TCP_PROXY) {
        const proxy = found as TcpProxyMessage;
        proxy.accessLog.push(own.tcpLog);
        filter.configType.value = pack(proxy);
      }
    }
  }
}

type OwnParts = ReturnType<typeof createOwnParts>;

/**
 * Creates the parts that the agent adds to listeners. Each one is created only once, because a configuration may contain
 * thousands of listeners.
 */
function createOwnParts(facts: SessionFacts, tokenHeader: string) {
  const filters = memoize((at: string): readonly Message[] => {
    const service = facts.services.find(({ address, port }) => `${address}:${port}` === at);
    return [
      // If the service is not listed yet, its names are unknown, so no host name is accepted as its own.
      foreignCallerFilter(service ? [service.host, ...service.aliases] : []),
      ...(service ? [explainFilter(service, facts)] : []),
    ].map((one) => messageFromJson(HTTP_FILTER, one));
  }, new Map());
  return {
    filters,
    dropForgedToken: messageFromJson('envoy.config.core.v3.TypedExtensionConfig', removeForgedTokenHeader(tokenHeader)),
    httpLog: messageFromJson(ACCESS_LOG, httpAccessLog()),
    tcpLog: messageFromJson(ACCESS_LOG, tcpAccessLog()),
    localReplies: messageFromJson(`${MANAGER.replace(/\.\w+$/, '')}.LocalReplyConfig`, localReplies(facts.sessionId)),
  };
}

function addressOf(listener: ListenerMessage): string | undefined {
  const { address } = listener;
  if (address?.address.case !== 'socketAddress') return undefined;
  const { address: host, portSpecifier } = address.address.value;
  return `${host}:${portSpecifier.value}`;
}

/**
 * Creates the agent's own resources from JSON.
 * @returns the resources, by name
 */
export function indexResources(type: string, written: readonly JsonObject[]): ReadonlyMap<string, Any> {
  return new Map(written.map((one) => [String(one.name), pack(messageFromJson(type, one))]));
}

// The fields of Envoy messages that are used here. They are declared because the generated types only support
// reflection.
interface Named extends Message {
  readonly name: string;
}
interface FilterChain {
  readonly filters: { configType: { value?: Any } }[];
}
interface ListenerMessage extends Named {
  listenerSpecifier: { case: 'internalListener'; value: Message } | { case: undefined; value?: undefined };
  address?: {
    readonly address:
      | {
          readonly case: 'socketAddress';
          readonly value: { readonly address: string; readonly portSpecifier: { readonly value?: unknown } };
        }
      | { readonly case: undefined | 'pipe' | 'envoyInternalAddress' };
  };
  readonly filterChains: readonly FilterChain[];
  readonly defaultFilterChain?: FilterChain;
  enableReusePort?: boolean;
  connectionBalanceConfig?: Message;
}
interface ManagerMessage extends Message {
  readonly httpFilters: Message[];
  readonly earlyHeaderMutationExtensions: Message[];
  readonly accessLog: Message[];
  localReplyConfig?: Message;
  generateRequestId?: boolean;
}
interface TcpProxyMessage extends Message {
  readonly accessLog: Message[];
}
