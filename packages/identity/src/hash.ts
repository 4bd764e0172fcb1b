/** SHA-256 digests. Tokens may only be stored, logged and compared as digests. */
import { createHash } from 'node:crypto';

/** Returns the SHA-256 digest of a string or of bytes, in lower-case hexadecimal. */
export function sha256Hex(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Returns the SHA-256 digest of a string or of bytes, in base64url without padding. */
export function sha256Base64url(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('base64url');
}
