/** Computes when a credential is due for renewal, and creates the error for an expired one. */
import { MeshpassError } from '@meshpass/identity/error';

/** Returns half of a credential's lifetime in milliseconds. */
export function halfLife(credential: { readonly issuedAt: number; readonly expiresAt: number }): number {
  return (credential.expiresAt - credential.issuedAt) / 2;
}

/** Creates the error that callers receive when no valid credential is left. */
export function expired(what: string): MeshpassError {
  return new MeshpassError(
    'agent_credentials_expired',
    `The ${what} has expired and the broker has not issued a new one yet. The agent keeps trying. Run meshpass status to see the reason.`,
    { retryAfter: 5 },
  );
}
