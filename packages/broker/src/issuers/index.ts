/** Works with identity providers. Includes HTTP requests to issuers, ID tokens, sign-ins and logouts. */

// Requests to an issuer.

export {
  type IssuerHttpOptions,
  type IssuerRequest,
  type IssuerResponse,
  issuerUnavailableError,
  labOnlyPlainHttpIssuers,
  requestIssuer,
} from './issuer-http.ts';
export { createTtlCache } from './ttl-cache.ts';

// ID tokens.

export type { IssuerKeys } from './oidc/issuer-keys.ts';
export { attestOidc, type OidcOptions } from './oidc/oidc.ts';
export { verifyOperatorIdToken } from './oidc/operator.ts';
export { sidOf, subjectOf } from './oidc/person.ts';

// Developer sign-ins and logouts.

export type { LogoutVerifier, VerifiedLogout } from './oidc/logout-token.ts';
export {
  confirmationStart,
  isFresh,
  type SignInBinding,
  unknownIssuerError,
  type VerifiedSignIn,
  verifySignIn,
} from './oidc/sign-in.ts';

// Attestation results.

export type { AttestationResult, PresenceOutcome } from './attested.ts';
export { requirePrintable } from './printable.ts';
