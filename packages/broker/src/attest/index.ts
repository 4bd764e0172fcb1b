/** Workspace proofs, and GitHub's later reports about them. */

// Attestation.

export { type Attest, type AttestSignIn, readProof } from './attest.ts';
export { HIGHEST_PORT, LOWEST_PORT } from './presence/forwarded-port.ts';
export { PRESENCE_MODES, type Presenter } from './presence/presence.ts';

// Facts revoked by GitHub.

export { createLosses, type Fact, factsOf, type Losses, SETTLE_SECONDS, without } from './github/losses.ts';
export { deleteOldLosses, persistLosses } from './github/stored-losses.ts';

// Queries about people.

export type { ReadGithub } from './github/api.ts';
export { isTeamById, MAX_PAGE_BYTES, parseGithub, pathPart } from './github/api.ts';
export { askedOf, withFreshMemberships } from './github/approvers.ts';
export { type Asked, membershipQueries, organizationOf } from './github/memberships.ts';
