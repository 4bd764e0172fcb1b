/**
 * Detects duplicate members in JSON. JSON parsers differ in which duplicate they keep, so a value that one parser has
 * checked may not be the value that another parser uses (RFC 8259 section 4, RFC 7519 section 4). The check runs in
 * linear time for any input.
 */

import { structuralCharacters } from '@meshpass/identity';

/**
 * Whether any object in a JSON text has two members with the same name.
 * @param text valid JSON that the caller has already parsed
 * @param json the result of `JSON.parse`, which keeps only the last of any duplicates
 */
export function hasDuplicateMember(text: string, json: unknown): boolean {
  return membersIn(text) !== membersOf(json);
}

/** Counts the members in the text. Every member has exactly one colon that is not inside a string. */
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
