/** Identity providers: HTTP requests to issuers, ID tokens, sign-ins and logouts. */

// Requests to an issuer.

export {
  type IssuerHttpOptions,
  type IssuerRequest,
  type IssuerResponse,
  plainHttpIssuersOnlyInALab,
  requestIssuer,
  unavailable,
} from './issuer-http.ts';
export { createTtlCache } from './ttl-cache.ts';

// ID tokens.

export { countsFrom, isFresh } from './oidc/freshness.ts';
export type { IssuerKeys } from './oidc/issuer-keys.ts';
export { attestOidc, type OidcOptions } from './oidc/oidc.ts';
export { attestPerson } from './oidc/operator.ts';
export { sidOf, subjectOf } from './oidc/person.ts';

// Sign-ins of developers, and logouts.

export type { SignedOut, VerifyLogout } from './oidc/logout-token.ts';
export { type SignInBinding, unknownIssuer, type VerifiedSignIn, verifySignIn } from './oidc/sign-in.ts';

// Attestation results.

export { type Attested, IdentifiedRefusal, type Shown } from './attested.ts';
export { printable } from './printable.ts';
