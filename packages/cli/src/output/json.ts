/** JSON output. Fields are in snake_case; older camelCase fields remain beside their new names. */

const CAMEL_CASE = /^[a-z]+(?:[A-Z][a-z]+)+$/;

/** @returns indented JSON, in which each camelCase field is followed by its snake_case twin */
export function formatJson(value: unknown): string {
  return JSON.stringify(value, (_, member) => (isRecord(member) ? withTwins(member) : member), 2);
}

function withTwins(record: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(record).flatMap(([name, value]) =>
      CAMEL_CASE.test(name)
        ? [
            [name, value],
            [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value],
          ]
        : [[name, value]],
    ),
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
