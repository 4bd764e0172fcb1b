/**
 * Types for the Envoy messages that the relay reads and changes. They match the objects that @bufbuild/protobuf creates
 * for descriptors without generated classes.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';

/** A protobuf `oneof`. Only the members that the relay reads are listed. Any other one may be set as well. */
type OneOf<Members> =
  | { [Name in keyof Members]: { case: Name; value: Members[Name] } }[keyof Members]
  | { case: undefined; value?: undefined };

export interface Metadata extends Message {
  filterMetadata: Record<string, unknown>;
}

export interface Filter {
  readonly name: string;
  configType: OneOf<{ typedConfig: Any }>;
}

export interface FilterChain {
  readonly filters: readonly Filter[];
  filterChainMatch?: Message | undefined;
  metadata?: Metadata | undefined;
}

export interface ListenerShape extends Message {
  readonly name: string;
  readonly address?: {
    readonly address: OneOf<{ socketAddress: { address: string; portSpecifier: OneOf<{ portValue: number }> } }>;
  };
  readonly filterChains: readonly FilterChain[];
  readonly defaultFilterChain?: FilterChain | undefined;
  readonly listenerFilters: readonly { readonly name: string }[];
  readonly listenerFiltersTimeout?: Message;
  readonly perConnectionBufferLimitBytes?: number;
}

export interface HttpConnectionManager extends Message {
  statPrefix: string;
  readonly tracing?: { customTags: Message[] };
  routeSpecifier: OneOf<{ rds: { routeConfigName: string }; routeConfig: RouteConfiguration }>;
}

/** A message that references clusters. This is either the action of a route or a TCP proxy. */
export interface ToClusters extends Message {
  clusterSpecifier: OneOf<{ cluster: string; weightedClusters: { clusters: { name: string }[] } }>;
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
  action: OneOf<{ route: RouteAction; directResponse: Message }>;
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
  configType: OneOf<{ typedConfig: Any }>;
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
    readonly validationContextType: OneOf<{
      combinedValidationContext: {
        readonly defaultValidationContext?: {
          readonly matchSubjectAltNames?: readonly StringMatcher[];
          readonly matchTypedSubjectAltNames?: readonly { readonly matcher?: StringMatcher }[];
        };
      };
    }>;
  };
}

interface StringMatcher {
  readonly matchPattern: OneOf<{ exact: string }>;
}

export interface CommonHttpOptions {
  maxRequestsPerConnection?: number;
  idleTimeout?: Message;
}

export interface HttpProtocolOptions extends Message {
  commonHttpProtocolOptions?: CommonHttpOptions | undefined;
  readonly upstreamProtocolOptions: OneOf<{
    explicitHttpConfig: { readonly protocolConfig?: { readonly case?: string } };
    autoConfig: { readonly protocolConfig?: undefined };
  }>;
}

export interface ClusterLoadAssignment extends Message {
  readonly endpoints: readonly { readonly lbEndpoints: readonly { readonly metadata?: Metadata }[] }[];
}
