/** Envoy's API, version 3, as protobuf descriptors: messages are read, written and walked by reflection. */
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

/** Every message, enum and service of Envoy that Meshpass knows (packages/envoy/generate/main.go lists them). */
export const registry: FileRegistry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, gunzipSync(Buffer.from(DESCRIPTORS, 'base64'))),
);

/** Of an `Any`: `type.googleapis.com/FULL.NAME` (protobuf, any.proto). */
export const TYPE_URL_PREFIX = 'type.googleapis.com/';

export const CLUSTER = 'envoy.config.cluster.v3.Cluster';
export const LISTENER = 'envoy.config.listener.v3.Listener';
export const ROUTE_CONFIGURATION = 'envoy.config.route.v3.RouteConfiguration';
export const CLUSTER_LOAD_ASSIGNMENT = 'envoy.config.endpoint.v3.ClusterLoadAssignment';
export const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

/** @param name full name, as `envoy.config.cluster.v3.Cluster`. @throws Error where Meshpass does not know it: a mistake of ours */
export function messageType(name: string): DescMessage {
  const found = registry.getMessage(name);
  if (!found) throw new Error(`${name} is not among the generated types of Envoy`);
  return found;
}

/** @param name full name, as `envoy.service.discovery.v3.AggregatedDiscoveryService`. @throws Error where it is not known */
export function serviceType(name: string): DescService {
  const found = registry.getService(name);
  if (!found) throw new Error(`${name} is not among the generated types of Envoy`);
  return found;
}

/** A message as protobuf's JSON, with the names of Envoy's documentation (`connect_timeout`) and `@type` where one is embedded. */
export function asJson(message: Message): JsonValue {
  return toJson(messageType(message.$typeName), message, { registry, useProtoFieldName: true });
}

/**
 * A message out of protobuf's JSON.
 * @throws Error where a member is unknown or of another type
 * @example
 * ```ts
 * import { asJson, messageOf } from '@meshpass/envoy';
 * asJson(messageOf('envoy.config.core.v3.SocketAddress', { address: '127.64.0.1', port_value: 8080 }));
 * // => { address: '127.64.0.1', port_value: 8080 }
 * ```
 */
export function messageOf(name: string, json: JsonValue): Message {
  return fromJson(messageType(name), json, { registry });
}

/** The message in an `Any`; undefined where its type is not known. @throws Error where its bytes are no such message */
export function unpack(any: Any): Message | undefined {
  const type = registry.getMessage(any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1));
  return type && fromBinary(type, any.value);
}

/** An `Any` that holds the message. */
export function pack(message: Message): Any {
  return {
    $typeName: AnySchema.typeName,
    typeUrl: TYPE_URL_PREFIX + message.$typeName,
    value: toBinary(messageType(message.$typeName), message),
  };
}
