/** Converts resources to readable JSON and back. For a type that Meshpass does not know, only the type URL is kept. */
import {
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Registry,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { type Any, EmptySchema } from '@bufbuild/protobuf/wkt';
import { registry, TYPE_URL_PREFIX } from '../src/index.ts';

const lenient: Registry = Object.assign(Object.create(registry), {
  getMessage: (name: string) => registry.getMessage(name) ?? { ...EmptySchema, typeName: name },
  getExtensionFor: () => undefined,
});

/** Converts a resource to JSON with `@type`, like the JSON of an `Any`. */
export function readable(resource: Any): JsonObject {
  const type = lenient.getMessage(resource.typeUrl.slice(TYPE_URL_PREFIX.length))!;
  const json = toJson(type, fromBinary(type, resource.value), { registry: lenient, useProtoFieldName: true });
  return { '@type': resource.typeUrl, ...(json as JsonObject) };
}

/** Converts the output of `readable` back. */
export function resourceOf({ '@type': typeUrl, ...json }: JsonObject): Any {
  const type = lenient.getMessage((typeUrl as string).slice(TYPE_URL_PREFIX.length))!;
  const value = toBinary(type, fromJson(type, json as JsonValue, { registry: lenient }));
  return { $typeName: 'google.protobuf.Any', typeUrl: typeUrl as string, value };
}
