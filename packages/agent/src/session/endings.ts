/** Classifies the reasons why a session ends or the broker refuses a new one. */

const OVER = new Set(['session_unknown', 'session_closed']);
/** Codes after which the broker will not open a session, so there is no point in trying again. */
const FINAL = new Set([
  'agent_prebuild',
  'proof_prebuild',
  'workspace_not_owned',
  'proof_type_unsupported',
  'proof_token_kind',
]);
/**
 * Causes that affect many sessions at once, or that could make two agents of one workspace replace each other's session
 * in a loop.
 */
const UNHURRIED = new Set(['access_removed', 'issuer_removed', 'membership_lost', 'store_restored', 'replaced']);

/** Whether a refusal means that the session has ended. */
export function isOver(code: string): boolean {
  return OVER.has(code);
}

/** Whether a refusal of a new session is final. */
export function isFinal(code: string): boolean {
  return FINAL.has(code);
}

/** Whether the agent waits for a random time before it opens another session. */
export function isUnhurried(cause: string): boolean {
  return UNHURRIED.has(cause);
}
