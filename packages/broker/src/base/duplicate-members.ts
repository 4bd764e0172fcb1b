/**
 * Detects duplicate members in JSON. Parsers differ in which duplicate they keep, so one parser might check a value
 * that another one does not use (RFC 8259 section 4, RFC 7519 section 4). Runs in linear time for any input.
 */

import { structuralCharacters } from '@meshpass/identity/jws/json';

/**
 * Whether any object in a JSON text has two members with the same name.
 * @param text valid JSON, which the caller has already parsed
 * @param json result of JSON.parse, which keeps only the last of two duplicates
 */
export function hasDuplicateMember(text: string, json: unknown): boolean {
  return membersIn(text) !== membersOf(json);
}

/** Counts the members in the text. Each has exactly one colon outside strings. */
function membersIn(text: string): number {
  let members = 0;
  for (const at of structuralCharacters(text)) if (text[at] === ':') members++;
  return members;
}

function membersOf(json: unknown): number {
  let members = 0;
  const open: unknown[] = [json];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (!Array.isArray(value)) members += Object.keys(value).length;
    for (const one of Object.values(value)) open.push(one);
  }
  return members;
}
