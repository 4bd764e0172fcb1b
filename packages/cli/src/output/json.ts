/**
 * Formats JSON output in snake_case. For compatibility, older fields in camelCase are kept alongside their new names.
 */

const CAMEL_CASE = /^[a-z]+(?:[A-Z][a-z]+)+$/;

/** Returns a copy of a value in which each camelCase field is followed by the same field in snake_case. */
export function withSnakeCaseTwins(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, member) => (isRecord(member) ? twinned(member) : member)));
}

function twinned(record: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(record).flatMap(([name, value]) => {
      const twin = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      return CAMEL_CASE.test(name)
        ? [
            [name, value],
            [twin, value],
          ]
        : [[name, value]];
    }),
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
