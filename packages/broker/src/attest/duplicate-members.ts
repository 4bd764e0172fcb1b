/**
 * Members that a JSON text has twice: readers differ in which of the two they take, so that one may check what another does not
 * believe (RFC 8259 section 4, RFC 7519 section 4). Linear in the text, whatever a stranger wrote.
 */

/**
 * @param text valid JSON: parse it first
 * @param json what JSON.parse made of it, which keeps the last of those of one name
 */
export function hasDuplicateMember(text: string, json: unknown): boolean {
  return membersIn(text) !== membersOf(json);
}

/** Members that the text writes: each has a colon outside of strings, and nothing else has. */
function membersIn(text: string): number {
  let members = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (character === 0x22) inString = !inString;
    else if (inString && character === 0x5c) i++;
    else if (!inString && character === 0x3a) members++;
  }
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
