/** Looks into a token before anything is believed: only to find which issuer must have signed it, and within bounds. */
import { MeshpassError } from '@meshpass/identity';
import { hasDuplicateMember } from '../duplicate-members.ts';

export interface UnverifiedToken {
  readonly header: Readonly<Record<string, unknown>>;
  /** `iss`, to choose among configured issuers by equality, and for nothing else. */
  readonly issuer: string;
  /** `aud`, to tell an ID token of a sign-in from another proof, and for nothing else. */
  readonly audience: unknown;
  /** What the signature covers: unlike the whole token it cannot be written in a second way (ECDSA signatures can). */
  readonly signingInput: string;
}

/** Characters. A token of GitHub Actions has 2,000, one with a hundred groups 6,000. */
export const MAX_TOKEN = 16_384;
/** Objects and arrays in one another. Real tokens have four at most. */
const MAX_DEPTH = 10;
const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/;

/** @throws MeshpassError `proof_too_large`, `proof_malformed` */
export function readToken(token: string): UnverifiedToken {
  if (token.length > MAX_TOKEN) {
    throw new MeshpassError('proof_too_large', `The ID token is longer than ${MAX_TOKEN} characters.`);
  }
  const parts = COMPACT.exec(token);
  if (!parts) throw malformed('it is not three parts in base64url');
  const header = readPart(parts[1]!, 'header');
  const claims = readPart(parts[2]!, 'claims');
  if (typeof claims.iss !== 'string') throw malformed('it has no issuer');
  return { header, issuer: claims.iss, audience: claims.aud, signingInput: token.slice(0, token.lastIndexOf('.')) };
}

export function malformed(reason: string): MeshpassError {
  return new MeshpassError('proof_malformed', `This is not an ID token: ${reason}.`);
}

function readPart(part: string, name: string): Record<string, unknown> {
  const text = Buffer.from(part, 'base64url').toString('utf8');
  if (nesting(text) > MAX_DEPTH) throw malformed(`its ${name} is nested too deeply`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed(`its ${name} is not JSON`);
  }
  if (hasDuplicateMember(text, value)) throw malformed(`its ${name} has a duplicate member`);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed(`its ${name} is not an object`);
  return value as Record<string, unknown>;
}

/** Deepest nesting of a JSON text, counted before a parser sees it. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (inString) {
      if (character === 0x5c) i++;
      else if (character === 0x22) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x7b || character === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (character === 0x7d || character === 0x5d) depth--;
  }
  return deepest;
}
