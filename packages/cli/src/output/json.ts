/**
 * Formats JSON output in snake_case. For compatibility, older fields in camelCase are kept alongside their new names.
 */

const CAMEL_CASE = /^[a-z]+(?:[A-Z][a-z]+)+$/;

/** Returns a copy of a value in which each camelCase field is followed by the same field in snake_case. */
export function withSnakeCaseTwins(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, member) => twinned(member)));
}

function twinned(member: unknown): unknown {
  if (typeof member !== 'object' || member === null || Array.isArray(member)) return member;
  const fields = Object.entries(member).flatMap(([name, value]) => {
    const twin = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return (CAMEL_CASE.test(name) ? [name, twin] : [name]).map((one) => [one, value]);
  });
  return Object.fromEntries(fields);
}
