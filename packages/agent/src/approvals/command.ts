/** What the commands ask of the agent about approvals. Loads nothing: the control socket is there before the rest of the agent. */
import type { AnswerOrder, ApprovalOrder, EmergencyOrder, ReviewOrder } from '@meshpass/identity/approval';

export type ApprovalsCommand =
  | { readonly act: 'list'; readonly scope?: 'own' }
  | { readonly act: 'ask'; readonly order: ApprovalOrder }
  | { readonly act: 'emergency'; readonly order: EmergencyOrder }
  | { readonly act: 'review'; readonly order: ReviewOrder }
  | { readonly act: 'withdraw'; readonly id: string }
  | { readonly act: 'answer'; readonly order: AnswerOrder };

const ACTS: readonly unknown[] = ['list', 'ask', 'emergency', 'review', 'withdraw', 'answer'];

/** What the broker is not asked with at all. */
export function isApprovalsCommand(value: unknown): value is ApprovalsCommand {
  const { act, order, id, scope } = (value ?? {}) as Record<string, unknown>;
  if (!ACTS.includes(act)) return false;
  if (act === 'withdraw') return typeof id === 'string';
  if (act === 'list') return scope === undefined || scope === 'own';
  return typeof order === 'object' && order !== null;
}
