/** docs/interfaces/values.md: every value of the chart, from its schema, with the defaults of values.yaml. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface ValueSchema {
  readonly type: string | readonly string[];
  readonly description: string;
  readonly properties?: Readonly<Record<string, ValueSchema>>;
  readonly enum?: readonly string[];
}

const CHART = new URL('../helm/meshpass/', import.meta.url);

const INTRODUCTION = `# Values of the chart

Generated from \`values.schema.json\` and \`values.yaml\` of the [chart](../../deploy/helm/meshpass) by \`npm run reference\`; do not edit. Helm
checks values against that schema, and refuses names that it does not know.

A first install needs \`broker.host\`, \`edge.host\`, \`access.content\`, \`certificates\`, and for Codespaces \`github\`:
[first-install-values.yaml](../../deploy/helm/meshpass/ci/first-install-values.yaml).
`;

/** The schema of the chart's values. */
export function valuesSchema(): ValueSchema {
  return JSON.parse(readFileSync(new URL('values.schema.json', CHART), 'utf8'));
}

/** The whole page. */
export function valuesPage(): string {
  const defaults = parse(readFileSync(new URL('values.yaml', CHART), 'utf8'));
  const groups = Object.entries(valuesSchema().properties!).filter(([name]) => name !== 'global');
  const nested = groups.filter(([, { properties }]) => properties);
  const single = groups.filter(([, { properties }]) => !properties);
  const sections = nested.map(
    ([name, schema]) => `## ${name}\n\n${schema.description}.\n\n${table(rows(name, schema, defaults[name]))}`,
  );
  const others = single.flatMap(([name, schema]) => rows(name, schema, defaults[name]));
  return `${[INTRODUCTION, ...sections, `## Others\n\n${table(others)}`].join('\n')}`;
}

function rows(name: string, schema: ValueSchema, value: unknown): string[] {
  if (schema.properties)
    return Object.entries(schema.properties).flatMap(([member, inner]) =>
      rows(`${name}.${member}`, inner, (value as Record<string, unknown> | undefined)?.[member]),
    );
  const choices = schema.enum ? ` (${schema.enum.map((one) => `\`${one}\``).join(', ')})` : '';
  const given =
    value === undefined || value === '' ? '' : `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
  return [`| \`${name}\` | ${given} | ${schema.description}${choices} |`];
}

function table(lines: readonly string[]): string {
  return `| Value | Default | Meaning |\n| --- | --- | --- |\n${lines.join('\n')}\n`;
}
