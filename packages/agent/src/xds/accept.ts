/**
 * From what the broker sent to what Envoy gets: checked as a whole, then completed with what only the agent adds. A configuration
 * that breaks one rule is not used at all, and the one before stays.
 */
import type { JsonObject, Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import {
  CLUSTER,
  type Expected,
  LISTENER,
  messageOf,
  pack,
  type Refusal,
  ROUTE_CONFIGURATION,
  readConfiguration,
  unpack,
  type WorkspaceConfiguration,
} from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import { httpAccessLog, tcpAccessLog } from '../access-log/loggers.ts';
import { explainFilter, foreignHostFilter, localReplies, tokenFilter } from './http-filters.ts';
import { explainRoutes } from './route-refusals.ts';

const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter';

/** What the agent knows of the session beside the configuration. */
export interface SessionFacts {
  readonly services: readonly ReachableService[];
  readonly sessionId: string;
  readonly tokenHeader: string;
  /** Whether Envoy may listen on a port. */
  readonly mayListenOn: (port: number) => boolean;
}

export type Accepted =
  | { readonly refused: readonly Refusal[] }
  | {
      readonly refused?: undefined;
      /** By type, then by name. */
      readonly resources: Readonly<Record<string, ReadonlyMap<string, Any>>>;
      /** `127.64.1.2:8080` of every listener for programs. */
      readonly addresses: ReadonlySet<string>;
      /** Those that Envoy may not listen on, with the names of their listeners: only the proxy leads there. */
      readonly internal: ReadonlyMap<string, string>;
    };

/** @returns the resources for Envoy, or why none of them is used */
export function acceptConfiguration(
  configuration: WorkspaceConfiguration,
  expected: Expected,
  facts: SessionFacts,
): Accepted {
  const read = readConfiguration(configuration, expected);
  if (read.refusals.length > 0) return { refused: read.refusals };
  const addresses = new Set<string>();
  const internal = new Map<string, string>();
  const listeners = read.listeners.map((message) => {
    const listener = message as ListenerMessage;
    const at = addressOf(listener);
    if (at === undefined) return listener;
    completed(listener, at, facts);
    if (facts.mayListenOn(Number(at.slice(at.lastIndexOf(':') + 1)))) {
      addresses.add(at);
      return opened(listener);
    }
    internal.set(at, listener.name);
    return closed(listener);
  });
  // Written anew from what was checked: what the broker's bytes might mean to another reader is left behind.
  const byName = (messages: readonly Message[]) => new Map(messages.map((one) => [(one as Named).name, pack(one)]));
  return {
    ...{ addresses, internal },
    resources: {
      [CLUSTER]: byName(read.clusters),
      [LISTENER]: byName(listeners),
      [ROUTE_CONFIGURATION]: byName(read.routes.map((one) => explainRoutes(one, facts.sessionId))),
    },
  };
}

/**
 * One socket, shared fairly by the threads: where each has its own (SO_REUSEPORT), another process of the same user could listen beside
 * them and take a part of the connections.
 */
function opened(listener: ListenerMessage): ListenerMessage {
  listener.enableReusePort = false;
  listener.connectionBalanceConfig = messageOf('envoy.config.listener.v3.Listener.ConnectionBalanceConfig', {
    exact_balance: {},
  });
  return listener;
}

/** Without a socket. */
function closed(listener: ListenerMessage): ListenerMessage {
  listener.address = undefined;
  listener.listenerSpecifier = {
    case: 'internalListener',
    value: messageOf('envoy.config.listener.v3.Listener.InternalListenerConfig', {}),
  };
  return listener;
}

/** Adds to a listener for programs what is the agent's. */
function completed(listener: ListenerMessage, at: string, facts: SessionFacts): void {
  const grant = listener.name.split('/')[0]!; // the check has seen that it is one of the session
  const service = facts.services.find(({ address, port }) => `${address}:${port}` === at);
  for (const { filters } of [
    ...listener.filterChains,
    ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : []),
  ]) {
    for (const filter of filters) {
      const found = filter.configType.value && unpack(filter.configType.value);
      if (found?.$typeName === MANAGER) {
        const manager = found as ManagerMessage;
        const own = [
          // Of a service that is not in the list yet, any name may be a foreign one.
          foreignHostFilter(service ? [service.host, ...service.aliases] : []),
          ...(service ? [explainFilter(service, facts.sessionId)] : []),
          tokenFilter(facts.tokenHeader, grant),
        ];
        manager.httpFilters.unshift(...own.map((one) => messageOf(HTTP_FILTER, one)));
        // Answers name the request, and so does the broker's audit log.
        manager.generateRequestId = true;
        manager.accessLog.push(messageOf(ACCESS_LOG, httpAccessLog()));
        manager.localReplyConfig = messageOf(
          `${MANAGER.replace(/\.\w+$/, '')}.LocalReplyConfig`,
          localReplies(facts.sessionId),
        );
        filter.configType.value = pack(manager);
      } else if (found?.$typeName === TCP_PROXY) {
        const proxy = found as TcpProxyMessage;
        proxy.accessLog.push(messageOf(ACCESS_LOG, tcpAccessLog()));
        filter.configType.value = pack(proxy);
      }
    }
  }
}

const ACCESS_LOG = 'envoy.config.accesslog.v3.AccessLog';

function addressOf(listener: ListenerMessage): string | undefined {
  const { address } = listener;
  if (address?.address.case !== 'socketAddress') return undefined;
  const { address: host, portSpecifier } = address.address.value;
  return `${host}:${portSpecifier.value}`;
}

/** Resources of ours, written as JSON. */
export function resourcesOf(type: string, written: readonly JsonObject[]): ReadonlyMap<string, Any> {
  return new Map(written.map((one) => [String(one.name), pack(messageOf(type, one))]));
}

// What of Envoy's messages is read or changed here; the generated types are reflection only.
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
  readonly accessLog: Message[];
  localReplyConfig?: Message;
  generateRequestId?: boolean;
}
interface TcpProxyMessage extends Message {
  readonly accessLog: Message[];
}
