/** Attests workspaces, and keeps track of the facts about them that GitHub revokes later. */

// Attestation.

export { type Attestor, parseSubjectToken, type SignInVerifier } from './attest.ts';
export { MAX_PORT, MIN_FORWARDED_PORT } from './presence/forwarded-port.ts';
export { PRESENCE_MODES, type Presenter } from './presence/presence.ts';

// Facts that GitHub has revoked.

export {
  attestationFacts,
  createLosses,
  type Fact,
  type Losses,
  SETTLE_SECONDS,
  withoutFacts,
} from './github/losses.ts';
export { deleteOldLosses, persistLosses } from './github/stored-losses.ts';

// Queries to GitHub about its users.

export type { ReadGithub } from './github/api.ts';
export { encodePathSegment, isTeamById, MAX_PAGE_BYTES, parseGithubResponse } from './github/api.ts';
export { approverMemberships, withFreshMemberships } from './github/approvers.ts';
export { createMembershipQueries, organizationOf } from './github/memberships.ts';
