/**
 * The JSON Schema (draft 2020-12) for the access file, which editors use for completion and validation. It does not
 * cover checks that require our own parsers (CEL), the rest of the file (references), or the mesh (services).
 */
import { z } from 'zod';
import { accessSchema, includedSchema } from './access-file.ts';
import type { SchemaOptions } from './trust.ts';

export type JsonSchema = Readonly<Record<string, unknown>>;

const ACCESS_SCHEMA_ID = 'https://meshpass.dev/schema/access.schema.json';
const INCLUDED_SCHEMA_ID = 'https://meshpass.dev/schema/access-included.schema.json';

/**
 * Returns the JSON Schema (draft 2020-12) for an access file, for use in editors.
 * @example
 * ```ts
 * import { accessJsonSchema } from '@meshpass/access';
 * accessJsonSchema().title; // => 'Meshpass access file'
 * ```
 */
export function accessJsonSchema(options: SchemaOptions = {}): JsonSchema {
  return toJsonSchema(accessSchema(options), ACCESS_SCHEMA_ID, 'Meshpass access file');
}

/**
 * Returns the JSON Schema (draft 2020-12) for an included file.
 * @example
 * ```ts
 * import { includedJsonSchema } from '@meshpass/access';
 * includedJsonSchema().title; // => 'Meshpass access file, included by another'
 * ```
 */
export function includedJsonSchema(): JsonSchema {
  return toJsonSchema(includedSchema(), INCLUDED_SCHEMA_ID, 'Meshpass access file, included by another');
}

function toJsonSchema(schema: z.ZodType, id: string, title: string): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return { $schema, $id: id, title, ...rest };
}

/** Lists the keys that are valid at a path in a document. Used for suggestions in error messages. */
export function keysAt(schema: JsonSchema, path: readonly PropertyKey[]): readonly string[] {
  const [step, ...rest] = path;
  if (step === undefined) return [...new Set(alternatives(schema).flatMap((one) => Object.keys(one.properties ?? {})))];
  const inner = alternatives(schema).flatMap(({ properties, additionalProperties, items }) => {
    const found = typeof step === 'number' ? items : (properties?.[String(step)] ?? additionalProperties);
    return typeof found === 'object' ? [found] : [];
  });
  return [...new Set(inner.flatMap((one) => keysAt(one, rest)))];
}

interface Described {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
}

function alternatives(schema: JsonSchema): readonly Described[] {
  const { anyOf } = schema as { readonly anyOf?: readonly JsonSchema[] };
  return [schema as Described, ...(anyOf ?? []).flatMap(alternatives)];
}
