/** Parses JSON from other parties. */

/** Parses JSON. Returns undefined if the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Parses the JSON in a part of a compact JWS (RFC 7515 section 7.1). Returns undefined if it is not JSON. */
export function parseJwsPart(part: string): unknown {
  return parseJson(Buffer.from(part, 'base64url').toString('utf8'));
}
