/**
 * Decodes a token before it is verified, in order to find the issuer that must have signed it. The size and nesting
 * depth of tokens are limited.
 */
import { MeshpassError, structuralCharacters } from '@meshpass/identity';
import { hasDuplicateMember } from '../../base/index.ts';

export interface UnverifiedToken {
  readonly header: Readonly<Record<string, unknown>>;
  /** The `iss` claim. It is only used to find the configured issuer that has the same URL. */
  readonly issuer: string;
  /** The `aud` claim. It is only used to distinguish sign-in ID tokens from other proofs. */
  readonly audience: unknown;
  /**
   * The token without its signature. ECDSA signatures are malleable, so only this part is the same in all copies of a
   * token.
   */
  readonly signingInput: string;
}

/**
 * The maximum token length in characters. A GitHub Actions token has about 2,000 characters, and a token with a hundred
 * groups has about 6,000.
 */
export const MAX_TOKEN_LENGTH = 16_384;
/** The maximum nesting depth of objects and arrays. Real tokens have no more than four levels. */
const MAX_DEPTH = 10;
const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/;

/**
 * Splits and decodes a token without verifying it.
 * @throws MeshpassError `proof_too_large`, `proof_malformed`
 */
export function decodeIdToken(token: string): UnverifiedToken {
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new MeshpassError('proof_too_large', `The ID token is longer than ${MAX_TOKEN_LENGTH} characters.`);
  }
  const parts = COMPACT.exec(token);
  if (!parts) throw malformedError('it does not have three base64url parts');
  const header = readPart(parts[1]!, 'header');
  const claims = readPart(parts[2]!, 'claims');
  if (typeof claims.iss !== 'string') throw malformedError('the iss claim is missing or invalid');
  return { header, issuer: claims.iss, audience: claims.aud, signingInput: token.slice(0, token.lastIndexOf('.')) };
}

/** Builds the error for a token that is not a well-formed ID token. */
export function malformedError(reason: string): MeshpassError {
  return new MeshpassError('proof_malformed', `This is not an ID token: ${reason}.`);
}

function readPart(part: string, name: string): Record<string, unknown> {
  const text = Buffer.from(part, 'base64url').toString('utf8');
  if (nesting(text) > MAX_DEPTH) throw malformedError(`its ${name} is nested too deeply`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformedError(`its ${name} is not valid JSON`);
  }
  if (hasDuplicateMember(text, value)) throw malformedError(`its ${name} has a duplicate member`);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformedError(`its ${name} is not a JSON object`);
  return value as Record<string, unknown>;
}

/** Returns the maximum nesting depth of a JSON text. This is checked before the text is parsed. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const at of structuralCharacters(text)) {
    if ('{['.includes(text[at]!)) deepest = Math.max(deepest, ++depth);
    else if ('}]'.includes(text[at]!)) depth--;
  }
  return deepest;
}
