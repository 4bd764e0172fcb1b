/** Parses JSON from untrusted sources. */

/** Parses JSON. Returns undefined if the JSON is invalid. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Parses one part of a compact JWS (RFC 7515 section 7.1) as JSON. Returns undefined if it is not JSON. */
export function parseJwsPart(part: string): unknown {
  return parseJson(Buffer.from(part, 'base64url').toString('utf8'));
}

/**
 * Yields the positions of the structural characters in a JSON text, which are the brackets, colons and commas outside
 * strings (RFC 8259 section 2). This takes linear time for any input.
 */
export function* structuralCharacters(text: string): Generator<number> {
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === '"') inString = !inString;
    else if (inString && character === '\\') at++;
    else if (!inString && '{}[]:,'.includes(character)) yield at;
  }
}
