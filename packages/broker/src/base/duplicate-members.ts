/**
 * Finds duplicate members in JSON. Parsers differ in which duplicate they keep, so one parser could check a value that
 * another does not use (RFC 8259 section 4, RFC 7519 section 4). Takes linear time for any input.
 */

import { structuralCharacters } from '@meshpass/identity/jws/json';

/**
 * Reports whether any object in a JSON text has two members with the same name.
 * @param text valid JSON, already parsed by the caller
 * @param json result of JSON.parse, which keeps the last of several duplicates
 */
export function hasDuplicateMember(text: string, json: unknown): boolean {
  return membersIn(text) !== membersOf(json);
}

/** Counts the members in the text: each has exactly one colon outside of strings. */
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
