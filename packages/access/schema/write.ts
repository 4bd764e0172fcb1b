/** Writes the JSON Schemas beside this file anew: `npm run schema -w @meshpass/access`. A test says when that is due. */
import { writeFileSync } from 'node:fs';
import { accessJsonSchema, includedJsonSchema } from '../src/schema/json-schema.ts';

const schemas = { 'access.schema.json': accessJsonSchema(), 'access-included.schema.json': includedJsonSchema() };
for (const [name, schema] of Object.entries(schemas)) {
  writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(schema, null, 2)}\n`);
}
