/** When a credential is due, and what is said when it is over. */
import { MeshpassError } from '@meshpass/identity/error';

/** @returns milliseconds */
export function halfLife(credential: { readonly issuedAt: number; readonly expiresAt: number }): number {
  return (credential.expiresAt - credential.issuedAt) / 2;
}

/** What a caller reads when nothing valid is left. */
export function expired(what: string): MeshpassError {
  return new MeshpassError(
    'agent_credentials_expired',
    `The ${what} has expired and the broker has not given another one yet; the agent keeps trying. meshpass status tells why.`,
    { retryAfter: 5 },
  );
}
