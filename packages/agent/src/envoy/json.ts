/**
 * Builders for recurring parts of Envoy's configuration, in JSON. This file imports no other code, because it is needed
 * early to write the bootstrap configuration.
 */
import type { JsonObject } from '@bufbuild/protobuf';

/**
 * Builds a `google.protobuf.Any`.
 * @param type the message name without its `envoy.` prefix
 */
export function typedConfig(type: string, config: JsonObject = {}): JsonObject {
  return { '@type': `type.googleapis.com/envoy.${type}`, ...config };
}

/**
 * Builds an Envoy extension.
 * @param name the name under which the extension is registered
 * @param type the name of its message, without the `envoy.` prefix
 */
export function extension(name: string, type: string, config?: JsonObject): JsonObject {
  return { name, typed_config: typedConfig(type, config) };
}

/**
 * Builds an HTTP filter under its registered name. For example, `router` and `Router` become
 * `envoy.filters.http.router`.
 */
export function httpFilter(name: string, message: string, config?: JsonObject): JsonObject {
  return extension(`envoy.filters.http.${name}`, `extensions.filters.http.${name}.v3.${message}`, config);
}

/** Builds the only filter chain of a listener, which consists of an HTTP connection manager. */
export function httpChain(config: JsonObject): JsonObject[] {
  return networkChain('http_connection_manager', 'HttpConnectionManager', config);
}

/** Builds the only filter chain of a listener, which consists of a single network filter. */
export function networkChain(name: string, message: string, config: JsonObject): JsonObject[] {
  const filter = extension(`envoy.filters.network.${name}`, `extensions.filters.network.${name}.v3.${message}`, config);
  return [{ filters: [filter] }];
}

/**
 * Builds the name and the only endpoint of a cluster.
 * @param address an `envoy.config.core.v3.Address`
 */
export function buildSingleEndpointCluster(name: string, address: JsonObject): JsonObject {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, load_assignment: { cluster_name: name, endpoints } };
}

/** Builds an Envoy socket address. */
export function buildSocketAddress(address: string, port: number): JsonObject {
  return { socket_address: { address, port_value: port } };
}
