/** Parts that recur in Envoy's configuration, as JSON. Loads nothing, because the bootstrap is written early. */
import type { JsonObject } from '@bufbuild/protobuf';

/** Builds a `google.protobuf.Any`. @param type name of the message without `envoy.` */
export function typedConfig(type: string, config: JsonObject = {}): JsonObject {
  return { '@type': `type.googleapis.com/envoy.${type}`, ...config };
}

/** Builds an extension. @param name registered name @param type name of its message without `envoy.` */
export function extension(name: string, type: string, config?: JsonObject): JsonObject {
  return { name, typed_config: typedConfig(type, config) };
}

/** Builds an HTTP filter under its registered name: `router` with `Router` is `envoy.filters.http.router`. */
export function httpFilter(name: string, message: string, config?: JsonObject): JsonObject {
  return extension(`envoy.filters.http.${name}`, `extensions.filters.http.${name}.v3.${message}`, config);
}

/** Builds a listener's only filter chain, with an HTTP connection manager. */
export function httpChain(config: JsonObject): JsonObject[] {
  return networkChain('http_connection_manager', 'HttpConnectionManager', config);
}

/** Builds a listener's only filter chain, with a single network filter. */
export function networkChain(name: string, message: string, config: JsonObject): JsonObject[] {
  const filter = extension(`envoy.filters.network.${name}`, `extensions.filters.network.${name}.v3.${message}`, config);
  return [{ filters: [filter] }];
}

/** Builds a cluster's name with its only endpoint. @param address `envoy.config.core.v3.Address` */
export function buildSingleEndpointCluster(name: string, address: JsonObject): JsonObject {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, load_assignment: { cluster_name: name, endpoints } };
}

/** Builds the address of a socket. */
export function buildSocketAddress(address: string, port: number): JsonObject {
  return { socket_address: { address, port_value: port } };
}
