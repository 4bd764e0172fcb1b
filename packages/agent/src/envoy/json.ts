/**
 * Builders for recurring parts of Envoy's configuration, as JSON. This file imports no other code, because the
 * bootstrap is written early.
 */
import type { JsonObject } from '@bufbuild/protobuf';

/**
 * Builds a `google.protobuf.Any`.
 * @param type message name without `envoy.`
 */
export function typedConfig(type: string, config: JsonObject = {}): JsonObject {
  return { '@type': `type.googleapis.com/envoy.${type}`, ...config };
}

/**
 * Builds an extension.
 * @param name registered name
 * @param type name of its message without `envoy.`
 */
export function extension(name: string, type: string, config?: JsonObject): JsonObject {
  return { name, typed_config: typedConfig(type, config) };
}

/**
 * Builds an HTTP filter with its registered name. For example, `router` with `Router` becomes
 * `envoy.filters.http.router`.
 */
export function httpFilter(name: string, message: string, config?: JsonObject): JsonObject {
  return extension(`envoy.filters.http.${name}`, `extensions.filters.http.${name}.v3.${message}`, config);
}

/** Builds the only filter chain of a listener, with an HTTP connection manager. */
export function httpChain(config: JsonObject): JsonObject[] {
  return networkChain('http_connection_manager', 'HttpConnectionManager', config);
}

/** Builds the only filter chain of a listener, with a single network filter. */
export function networkChain(name: string, message: string, config: JsonObject): JsonObject[] {
  const filter = extension(`envoy.filters.network.${name}`, `extensions.filters.network.${name}.v3.${message}`, config);
  return [{ filters: [filter] }];
}

/**
 * Builds the name and the only endpoint of a cluster.
 * @param address `envoy.config.core.v3.Address`
 */
export function buildSingleEndpointCluster(name: string, address: JsonObject): JsonObject {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, load_assignment: { cluster_name: name, endpoints } };
}

/** Builds a socket address. */
export function buildSocketAddress(address: string, port: number): JsonObject {
  return { socket_address: { address, port_value: port } };
}
