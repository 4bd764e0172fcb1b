/** The protobuf descriptors of Envoy's API, version 3. Messages are read, written and visited by reflection. */
import { gunzipSync } from 'node:zlib';
import {
  createFileRegistry,
  type DescMessage,
  type DescService,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonValue,
  type Message,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { type Any, AnySchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { DESCRIPTORS } from './generated/descriptors.ts';

/**
 * The registry of all supported Envoy messages, enums and services, which are listed in
 * packages/envoy/generate/main.go.
 */
export const registry: FileRegistry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, gunzipSync(Buffer.from(DESCRIPTORS, 'base64'))),
);

/**
 * The prefix of the type URL in an `Any`. The URL has the form `type.googleapis.com/FULL.NAME` (protobuf, any.proto).
 */
export const TYPE_URL_PREFIX = 'type.googleapis.com/';

export const CLUSTER = 'envoy.config.cluster.v3.Cluster';
export const LISTENER = 'envoy.config.listener.v3.Listener';
export const ROUTE_CONFIGURATION = 'envoy.config.route.v3.RouteConfiguration';
export const CLUSTER_LOAD_ASSIGNMENT = 'envoy.config.endpoint.v3.ClusterLoadAssignment';
export const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

/**
 * Returns the descriptor of a message.
 * @param name the full name, such as `envoy.config.cluster.v3.Cluster`
 * @throws Error if the type was not generated, which is a bug
 */
export function messageType(name: string): DescMessage {
  return generated(registry.getMessage(name), name);
}

/**
 * Returns the descriptor of a service.
 * @param name the full name, such as `envoy.service.discovery.v3.AggregatedDiscoveryService`
 * @throws Error if the type was not generated, which is a bug
 */
export function serviceType(name: string): DescService {
  return generated(registry.getService(name), name);
}

function generated<T>(found: T | undefined, name: string): T {
  if (found) return found;
  throw new Error(`${name} is not among the generated types of Envoy`);
}

/**
 * Converts a message to protobuf JSON. Fields have the names used in Envoy's documentation (`connect_timeout`), and
 * embedded messages contain `@type`.
 */
export function toProtoJson(message: Message): JsonValue {
  return toJson(messageType(message.$typeName), message, { registry, useProtoFieldName: true });
}

/**
 * Creates a message from protobuf JSON.
 * @throws Error if a member is unknown or has the wrong type
 * @example
 * ```ts
 * import { toProtoJson, messageFromJson } from '@meshpass/envoy';
 * toProtoJson(messageFromJson('envoy.config.core.v3.SocketAddress', { address: '127.64.0.1', port_value: 8080 }));
 * // => { address: '127.64.0.1', port_value: 8080 }
 * ```
 */
export function messageFromJson(name: string, json: JsonValue): Message {
  return fromJson(messageType(name), json, { registry });
}

/**
 * Decodes the message in an `Any`. Returns undefined if its type is unknown.
 * @throws Error if the bytes are invalid
 */
export function unpack(any: Any): Message | undefined {
  const type = registry.getMessage(any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1));
  return type && fromBinary(type, any.value);
}

/** Encodes a message as an `Any`. */
export function pack(message: Message): Any {
  return {
    $typeName: AnySchema.typeName,
    typeUrl: TYPE_URL_PREFIX + message.$typeName,
    value: toBinary(messageType(message.$typeName), message),
  };
}

/**
 * Creates a route that responds with a Meshpass error.
 * @param code the Meshpass error code
 */
export function createErrorRoute(status: number, code: string, description: string): Message {
  const text = JSON.stringify({ error: 'access_denied', error_code: code, error_description: description });
  return messageFromJson('envoy.config.route.v3.Route', {
    match: { prefix: '/' },
    direct_response: { status, body: { inline_string: text } },
    response_headers_to_add: [
      { header: { key: 'content-type', value: 'application/json' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    ],
  });
}
