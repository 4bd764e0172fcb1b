/** Workspace proofs, and GitHub's later reports about them. */

// Attestation.

export { type Attest, type AttestSignIn, readProof } from './attest.ts';
export { HIGHEST_PORT, LOWEST_PORT } from './presence/forwarded-port.ts';
export { PRESENCE_MODES, type Presenter } from './presence/presence.ts';

// Facts revoked by GitHub.

export { createLosses, type Fact, factsOf, type Losses, without } from './github/losses.ts';
export { deleteOldLosses, persistLosses } from './github/stored-losses.ts';

// The GitHub watch.

export type { Evidence } from './watch/audit-event-handler.ts';
export { githubEventRoutes } from './watch/audit-stream-route.ts';
export type { RateLimiter } from './watch/rate-limiter.ts';
export { startWatching } from './watch/watch.ts';
export type { WatchedSessions } from './watch/watched-sessions.ts';

// Queries about people.

export type { ReadGithub } from './github/api.ts';
export { parseGithub } from './github/api.ts';
export { askedOf, withFreshMemberships } from './github/approvers.ts';
export type { Asked } from './github/memberships.ts';
