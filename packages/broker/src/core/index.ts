/** Sessions: how they open, what they are issued, and what ends them. */

// Sessions of the active broker.

export type { SessionCaller } from './routes/authenticate.ts';
export { DENY_ENDED } from './session/deny/ended.ts';
export { restoreSessions, type SessionParts, type Sessions } from './start.ts';

// A live session.

export { settledAttestation } from './session/known-losses.ts';
export type { Live, LiveIndex } from './session/live.ts';
export { expiryOf, grantsOf, principalUnder } from './session/session.ts';
export type { Write } from './session/settling.ts';
export type { GainRequest } from './session/widen.ts';

// Logouts at issuers.

export { type Closed, isMeant, type RecentLogouts, type Signed } from './sign-in/recent-logouts.ts';

// Proofs, forms and keys of tokens.

export { createProofMemory, verifyDpop } from './token/dpop.ts';
export { readTokenForm } from './token/form.ts';
export { keysOf } from './token/key-ring.ts';
export { claimKeys } from './token/rotation.ts';
export { openSigner, type RotatingSigner } from './token/signer.ts';
