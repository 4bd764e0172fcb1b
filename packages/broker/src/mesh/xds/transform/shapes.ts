/**
 * Types for the Envoy messages that the relay reads and changes. They match the objects that @bufbuild/protobuf creates
 * for descriptors without generated classes.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';

export interface NamedMessage extends Message {
  readonly name?: string;
  readonly clusterName?: string;
}

/** A protobuf `oneof` with one of its members set. */
export type Case<Name extends string, Value> = { case: Name; value: Value };
export type None = { case: undefined; value?: undefined };

export interface Metadata extends Message {
  filterMetadata: Record<string, unknown>;
}

export interface SocketAddress {
  readonly address: string;
  readonly portSpecifier: Case<'portValue', number> | Case<'namedPort', string> | None;
}

export interface Filter {
  readonly name: string;
  configType: Case<'typedConfig', Any> | Case<'configDiscovery', Message> | None;
}

export interface FilterChain {
  readonly filters: readonly Filter[];
  filterChainMatch?: Message | undefined;
  metadata?: Metadata | undefined;
}

export interface ListenerShape extends Message {
  readonly name: string;
  readonly address?: { readonly address: Case<'socketAddress', SocketAddress> | Case<'pipe', Message> | None };
  readonly filterChains: readonly FilterChain[];
  readonly defaultFilterChain?: FilterChain | undefined;
  readonly listenerFilters: readonly { readonly name: string }[];
  readonly listenerFiltersTimeout?: Message;
  readonly perConnectionBufferLimitBytes?: number;
}

export interface HttpConnectionManager extends Message {
  statPrefix: string;
  readonly tracing?: { customTags: Message[] };
  routeSpecifier:
    | Case<'rds', { routeConfigName: string }>
    | Case<'routeConfig', RouteConfiguration>
    | Case<'scopedRoutes', Message>
    | None;
}

/** A message that references clusters. This is either the action of a route or a TCP proxy. */
export interface ToClusters extends Message {
  clusterSpecifier:
    | Case<'cluster', string>
    | Case<'weightedClusters', { clusters: { name: string }[] }>
    | Case<'clusterHeader' | 'clusterSpecifierPlugin' | 'inlineClusterSpecifierPlugin', unknown>
    | None;
}

export interface TcpProxy extends ToClusters {
  statPrefix: string;
}

export interface RouteAction extends ToClusters {
  requestMirrorPolicies: { cluster: string; clusterHeader: string }[];
}

export interface Route extends Message {
  readonly match?: { readonly headers: Message[] };
  metadata?: Metadata | undefined;
  action:
    | Case<'route', RouteAction>
    | Case<'redirect' | 'directResponse', Message>
    | Case<'filterAction' | 'nonForwardingAction', Message>
    | None;
  responseHeadersToAdd: Message[];
  requestHeadersToAdd: Message[];
  typedPerFilterConfig: Record<string, Any>;
}

export interface VirtualHost extends Message {
  domains: string[];
  routes: Route[];
  metadata?: Metadata | undefined;
  requestMirrorPolicies: RouteAction['requestMirrorPolicies'];
}

export interface RouteConfiguration extends Message {
  name: string;
  ignorePortInHostMatching: boolean;
  virtualHosts: VirtualHost[];
  metadata?: Metadata | undefined;
  requestMirrorPolicies: RouteAction['requestMirrorPolicies'];
}

export interface TransportSocket extends Message {
  configType: Case<'typedConfig', Any> | None;
}

export interface ClusterShape extends Message {
  readonly name: string;
  readonly edsClusterConfig?: { readonly serviceName: string } | undefined;
  readonly transportSocket?: TransportSocket | undefined;
  readonly transportSocketMatches: readonly { readonly transportSocket?: TransportSocket }[];
  readonly typedExtensionProtocolOptions: Readonly<Record<string, Any>>;
  readonly metadata?: Metadata | undefined;
  readonly lbPolicy: number;
  readonly maxRequestsPerConnection?: number;
  readonly circuitBreakers?: {
    readonly thresholds: readonly { readonly maxConnections?: number; readonly maxPendingRequests?: number }[];
  };
  readonly [other: string]: unknown;
}

export interface UpstreamTls extends Message {
  readonly commonTlsContext?: {
    readonly validationContextType:
      | Case<'combinedValidationContext', { readonly defaultValidationContext?: ValidationContext }>
      | Case<'validationContext', ValidationContext>
      | Case<'validationContextSdsSecretConfig', Message>
      | None;
  };
}

export interface ValidationContext {
  readonly matchSubjectAltNames?: readonly StringMatcher[];
  readonly matchTypedSubjectAltNames?: readonly { readonly matcher?: StringMatcher }[];
}

export interface StringMatcher {
  readonly matchPattern: Case<'exact', string> | Case<'prefix' | 'suffix' | 'contains', string> | None;
}

export interface CommonHttpOptions {
  maxRequestsPerConnection?: number;
  idleTimeout?: Message;
}

export interface HttpProtocolOptions extends Message {
  commonHttpProtocolOptions?: CommonHttpOptions | undefined;
  readonly upstreamProtocolOptions:
    | Case<
        'explicitHttpConfig',
        { readonly protocolConfig?: { readonly case?: 'httpProtocolOptions' | 'http2ProtocolOptions' } }
      >
    | Case<'useDownstreamProtocolConfig' | 'autoConfig', { readonly protocolConfig?: undefined }>
    | None;
}

export interface ClusterLoadAssignment extends Message {
  readonly endpoints: readonly { readonly lbEndpoints: readonly { readonly metadata?: Metadata }[] }[];
}
