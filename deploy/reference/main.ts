/** `npm run reference`: generates files from definitions in the code: the reference of the command line, and schemas. */
import { writeFileSync } from 'node:fs';
import { valuesPage } from './chart-values.ts';
import { reference } from './cli.ts';
import { logLineSchema } from './log-line.ts';
import { openapiDocument } from './openapi/document.ts';
import { sessionDrawing } from './session.ts';

export const GENERATED: Readonly<Record<string, () => Promise<string> | string>> = {
  'docs/cli.md': reference,
  'docs/images/session.svg': sessionDrawing,
  'docs/interfaces/values.md': valuesPage,
  'docs/interfaces/log-line.schema.json': () => json(logLineSchema()),
  'packages/broker/src/start/openapi.json': () => json(openapiDocument()),
};

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

if (import.meta.main)
  for (const [path, make] of Object.entries(GENERATED))
    writeFileSync(new URL(`../../${path}`, import.meta.url), await make());
