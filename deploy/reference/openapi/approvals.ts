/** Operations of the public listener about requests for approval. docs/access/approvals.md is their prose. */

import { WebhookAnswer } from '@meshpass/broker/admin/approval/webhook/receive';
import { ApprovalListScope, ApprovalRevokeBody } from '@meshpass/broker/admin/routes/approvals';
import {
  ApprovalAnswerBody,
  ApprovalRequest,
  ApprovalRequestBody,
  ApprovalReviewBody,
  ApprovalsResponse,
  ApprovalWithdrawBody,
  EmergencyAccessBody,
} from '@meshpass/identity/approval';
import { z } from 'zod';
import type { Operation } from './operation.ts';

const session = { listener: 'public', callers: ['session'] } as const;
const operator = { listener: 'operator', callers: ['operator'] } as const;
const request = { description: 'The current request', schema: ApprovalRequest.meta({ id: 'ApprovalRequest' }) };

export const APPROVALS: readonly Operation[] = [
  {
    ...session,
    method: 'get',
    path: '/approvals',
    id: 'listApprovals',
    summary: 'List what the session could ask for, has asked for, and may answer',
    query: z.object({
      scope: ApprovalListScope.optional().meta({
        description: '`own`: only its own requests, for whoever waits for an answer',
      }),
    }),
    answers: { 200: { description: 'Grants and requests', schema: ApprovalsResponse } },
  },
  {
    ...session,
    method: 'post',
    path: '/approvals',
    id: 'requestApproval',
    summary: 'Request a grant that another person must approve',
    request: { type: 'application/json', schema: ApprovalRequestBody },
    answers: { 200: request },
  },
  {
    ...session,
    method: 'post',
    path: '/approvals/emergency',
    id: 'takeInEmergency',
    summary: 'Take a grant at once, without an approval; another person reviews it afterwards',
    request: { type: 'application/json', schema: EmergencyAccessBody },
    answers: { 200: request },
  },
  {
    ...session,
    method: 'post',
    path: '/approvals/withdraw',
    id: 'withdrawApproval',
    summary: 'Take a request back; what it gave is lost',
    request: { type: 'application/json', schema: ApprovalWithdrawBody },
    answers: { 200: request },
  },
  {
    ...session,
    method: 'post',
    path: '/approvals/answer',
    id: 'answerApproval',
    summary: "Approve or deny somebody else's request",
    request: { type: 'application/json', schema: ApprovalAnswerBody },
    answers: { 200: request },
  },
  {
    ...session,
    method: 'post',
    path: '/approvals/review',
    id: 'reviewEmergency',
    summary: 'Accept an emergency of another person, or object to it, which ends it',
    request: { type: 'application/json', schema: ApprovalReviewBody },
    answers: { 200: request },
  },
  {
    listener: 'public',
    callers: ['webhook'],
    method: 'post',
    path: '/approvals/answers/{name}',
    id: 'answerByWebhook',
    summary: 'Answer a request in the name of a person for whom the webhook may speak (Standard Webhooks)',
    params: z.object({ name: z.string().meta({ description: 'Of the webhook in the access file' }) }),
    headers: z.object({
      'webhook-id': z.string(),
      'webhook-timestamp': z.string().meta({ description: 'Unix seconds; at most five minutes old' }),
      'webhook-signature': z
        .string()
        .meta({ description: '`v1,` and HMAC-SHA256 of id, timestamp and body in base64' }),
    }),
    request: { type: 'application/json', schema: WebhookAnswer },
    answers: { 200: request },
  },
  {
    ...operator,
    method: 'get',
    path: '/admin/approvals',
    id: 'listAllApprovals',
    summary: 'List requests for approval of all sessions',
    query: z.object({ id: z.string().optional().meta({ description: 'Only this one' }) }),
    answers: { 200: { description: 'The newest first', schema: z.object({ requests: z.array(ApprovalRequest) }) } },
  },
  {
    ...operator,
    method: 'post',
    path: '/admin/approvals/answer',
    id: 'answerApprovalAsOperator',
    summary: 'Approve or deny a request',
    request: { schema: ApprovalAnswerBody },
    answers: { 200: request },
  },
  {
    ...operator,
    method: 'post',
    path: '/admin/approvals/review',
    id: 'reviewEmergencyAsOperator',
    summary: 'Accept an emergency, or object to it, which ends it',
    request: { schema: ApprovalReviewBody },
    answers: { 200: request },
  },
  {
    ...operator,
    method: 'post',
    path: '/admin/approvals/revoke',
    id: 'revokeApproval',
    summary: 'Take back what was approved',
    request: { schema: ApprovalRevokeBody },
    answers: { 200: request },
  },
];
