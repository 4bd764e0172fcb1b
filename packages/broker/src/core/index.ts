/** Opens sessions, issues their credentials, and ends them. */

// The entry points for the sessions of the active broker.

export type { SessionCaller } from './routes/authenticate.ts';
export type { SessionParts } from './session/context.ts';
export { DENY_ENDED_MODES } from './session/deny/ended.ts';
export { restoreSessions, type Sessions } from './start.ts';

// Types and functions that concern a single live session.

export { settledAttestation } from './session/known-losses.ts';
export type { Live, LiveIndex } from './session/live.ts';
export { grantsOf, principalUnder, sessionExpiry } from './session/session.ts';
export type { Write } from './session/write-queue.ts';

// Logouts at issuers.

export {
  type ClosedOperatorSessions,
  logoutMatchesSignIn,
  type RecentLogouts,
  type SignedInUser,
} from './sign-in/recent-logouts.ts';

// DPoP proofs, token requests and signing keys.

export { parseTokenForm } from './token/form.ts';
export { publishedKeys } from './token/key-ring.ts';
export { claimKeys } from './token/rotation.ts';
export { openSigner, type RotatingSigner } from './token/signer.ts';
export { createDpopReplayMemory, verifyDpop } from './token/verify-dpop.ts';
