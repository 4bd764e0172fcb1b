/** What it means for an agent that a session has ended, or that no new one is given. */

const OVER = new Set(['session_unknown', 'session_closed']);
/** No new session will be given: asking again and again would only be noise. */
const FINAL = new Set([
  'agent_prebuild',
  'proof_prebuild',
  'workspace_not_owned',
  'proof_type_unsupported',
  'proof_token_kind',
]);
/** Ends that come to many sessions at once, or that another agent of the same workspace would answer with the same. */
const UNHURRIED = new Set(['access_removed', 'issuer_removed', 'membership_lost', 'store_restored', 'replaced']);

/** Whether the broker's refusal says that the session is gone. */
export function isOver(code: string): boolean {
  return OVER.has(code);
}

/** Whether a refusal of a new session is the last word. */
export function isFinal(code: string): boolean {
  return FINAL.has(code);
}

/** Whether another session is asked for only after a random pause. */
export function isUnhurried(cause: string): boolean {
  return UNHURRIED.has(cause);
}
