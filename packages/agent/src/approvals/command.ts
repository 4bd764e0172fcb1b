/**
 * Defines the approval commands of the control socket. This file imports no code, because the socket opens before the
 * rest of the agent is loaded.
 */
import type {
  ApprovalAnswerBody,
  ApprovalRequestBody,
  ApprovalReviewBody,
  EmergencyAccessBody,
} from '@meshpass/identity/approval';

/** The request bodies that the broker expects for each kind of change. */
interface Orders {
  readonly ask: ApprovalRequestBody;
  readonly emergency: EmergencyAccessBody;
  readonly review: ApprovalReviewBody;
  readonly withdraw: { readonly id: string };
  readonly answer: ApprovalAnswerBody;
}

export type ApprovalsChange = {
  [Act in keyof Orders]: { readonly act: Act; readonly order: Orders[Act] };
}[keyof Orders];
export interface ApprovalsList {
  readonly act: 'list';
  readonly scope?: 'own';
}
export type ApprovalsCommand = ApprovalsList | ApprovalsChange;

/** The broker's route for each kind of change. */
export const APPROVAL_PATHS: Readonly<Record<keyof Orders, string>> = {
  ask: '/approvals',
  emergency: '/approvals/emergency',
  review: '/approvals/review',
  withdraw: '/approvals/withdraw',
  answer: '/approvals/answer',
};

/** Returns whether a value has the shape of an approvals command. The broker validates the command's content. */
export function isApprovalsCommand(value: unknown): value is ApprovalsCommand {
  const { act, order, scope } = (value ?? {}) as Record<string, unknown>;
  if (act === 'list') return scope === undefined || scope === 'own';
  return typeof act === 'string' && Object.hasOwn(APPROVAL_PATHS, act) && typeof order === 'object' && order !== null;
}
