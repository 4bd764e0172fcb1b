/** Operations of the operator listener. docs/operating-broker.md, docs/audit.md and docs/policy.md are their prose. */

import { CloseOrder, ListQuery } from '@meshpass/broker/http/routes/admin';
import { AuditPage, ExportFrom, PruneOrder } from '@meshpass/broker/http/routes/audit';
import { ConfirmationsQuery, ConfirmOrder, WithdrawOrder } from '@meshpass/broker/http/routes/confirmations';
import { RollBackOrder } from '@meshpass/broker/http/routes/operator-policy';
import { CloseOperatorsOrder, ConfirmSignInOrder } from '@meshpass/broker/http/routes/operators';
import { ApplyOrder, PlanOrder } from '@meshpass/broker/http/routes/policy';
import { RotateOrder } from '@meshpass/broker/http/routes/trust';
import { DrillReport } from '@meshpass/identity/drill-report';
import { z } from 'zod';
import {
  AuditRows,
  ClosedSessions,
  DrilledSession,
  Evidence,
  Health,
  History,
  Plan,
  Pruned,
  Readiness,
  Rotated,
  Sessions,
  Trust,
} from './answers.ts';
import type { Operation } from './operation.ts';
import {
  AppliedFiles,
  ClosedOperators,
  Confirmations,
  ConfirmedSignIn,
  OperatorSession,
  OperatorSessions,
  Pending,
  Restores,
  RolesOfActions,
  SignInForm,
  SignIns,
  WhoAmI,
  Withdrawn,
} from './operator-answers.ts';

const on = { listener: 'operator', callers: ['operator'] } as const;
const open = { listener: 'operator', callers: ['anyone'] } as const;
/** Also on the public listener, for a job. */
const author = { listener: 'operator', callers: ['operator', 'job'] } as const;

/** Where `operators.secondPerson` lists the action. */
const pending = { 202: { description: 'It waits for a second person', schema: Pending } };

export const OPERATOR: readonly Operation[] = [
  {
    ...{ ...open, method: 'get', path: '/healthz', id: 'isAlive' },
    summary: 'Whether the process is alive',
    answers: { 200: { description: 'It is', schema: Health } },
  },
  {
    ...{ ...open, method: 'get', path: '/readyz', id: 'isReady' },
    summary: 'Whether this broker serves',
    answers: {
      200: { description: 'It does', schema: Readiness },
      503: { description: 'It does not, and why', schema: Readiness },
    },
  },
  {
    ...{ ...open, method: 'get', path: '/metrics', id: 'readMetrics' },
    summary: 'Metrics',
    answers: { 200: { description: 'Prometheus text format', type: 'text/plain', schema: z.string() } },
  },
  {
    ...{ ...on, method: 'get', path: '/admin/sessions', id: 'listSessions' },
    summary: 'List live sessions',
    description:
      'In the order of ids, 1,000 at most. Selected before they are counted: a page is full while there are more.',
    query: ListQuery,
    answers: { 200: { description: 'A page of those that match', schema: Sessions } },
  },
  {
    ...{ ...on, method: 'post', path: '/admin/sessions/close', id: 'closeSessions' },
    summary: 'End sessions',
    description: 'Exactly one of id, user, subject, workspace, grant and all selects them.',
    request: { schema: CloseOrder },
    answers: { ...pending, 200: { description: 'Those that ended', schema: ClosedSessions } },
  },
  {
    ...{ ...on, method: 'get', path: '/admin/trust', id: 'readTrust' },
    summary: 'Signing keys, and roots that certificates in use end in',
    answers: { 200: { description: 'Keys and roots', schema: Trust } },
  },
  {
    ...{ ...on, method: 'post', path: '/admin/trust/rotate', id: 'rotateKey' },
    summary: 'Change the key that signs tokens',
    request: { schema: RotateOrder },
    answers: { ...pending, 200: { description: 'The next key', schema: Rotated } },
  },
  {
    ...{ ...on, method: 'get', path: '/admin/drill/sessions/{id}', id: 'readRecordedSession' },
    summary: 'What the store has of a session',
    params: z.object({ id: z.string() }),
    answers: { 200: { description: 'The session', schema: DrilledSession } },
  },
  {
    ...{ ...on, method: 'post', path: '/admin/drill/evidence', id: 'signEvidence' },
    summary: 'Sign the report of a drill',
    request: { schema: DrillReport },
    answers: { 200: { description: 'Evidence', schema: Evidence } },
  },
  {
    ...{ ...on, method: 'get', path: '/audit', id: 'readAudit' },
    summary: 'A page of the audit log',
    query: AuditPage,
    answers: { 200: { description: 'Rows', schema: AuditRows } },
  },
  {
    ...{ ...on, method: 'get', path: '/audit/export', id: 'exportAudit' },
    summary: 'The audit log with what is needed to verify it',
    query: ExportFrom,
    answers: { 200: { description: 'docs/audit.md', type: 'application/x-ndjson', schema: z.looseObject({}) } },
  },
  {
    ...{ ...on, method: 'get', path: '/audit/checkpoint', id: 'signCheckpoint' },
    summary: 'A signed checkpoint of the audit log as it is now',
    answers: { 200: { description: 'A note', type: 'text/plain', schema: z.string() } },
  },
  {
    ...{ ...on, method: 'get', path: '/audit/key', id: 'readAuditKey' },
    summary: 'Keys that verify checkpoints',
    answers: { 200: { description: 'One a line', type: 'text/plain', schema: z.string() } },
  },
  {
    ...{ ...on, method: 'get', path: '/audit/restores', id: 'listRestores' },
    summary: 'Restores from a backup that were declared',
    answers: { 200: { description: 'The oldest first', schema: Restores } },
  },
  {
    ...{ ...on, method: 'post', path: '/audit/prune', id: 'pruneAudit' },
    summary: 'Delete old rows for good',
    request: { schema: PruneOrder },
    answers: { ...pending, 200: { description: 'What is gone', schema: Pruned } },
  },
  {
    ...{ ...author, method: 'post', path: '/policy/plan', id: 'planPolicy' },
    summary: 'Plan a change of the access file',
    request: { schema: PlanOrder },
    answers: { 200: { description: 'The plan', schema: Plan } },
  },
  {
    ...{ ...author, method: 'post', path: '/policy/apply', id: 'applyPolicy' },
    summary: 'Apply an access file, if the plan is still the same',
    request: { schema: ApplyOrder },
    answers: { ...pending, 200: { description: 'What was applied', schema: Plan } },
  },
  {
    ...{ ...author, method: 'get', path: '/policy/history', id: 'listPolicies' },
    summary: 'Access files that were applied, newest first',
    answers: { 200: { description: 'The last hundred', schema: History } },
  },
  {
    ...{ ...on, method: 'post', path: '/policy/rollback', id: 'rollBackPolicy' },
    summary: 'Apply an earlier access file again',
    request: { schema: RollBackOrder },
    answers: { ...pending, 200: { description: 'What was applied', schema: Plan } },
  },
  {
    ...{ ...on, method: 'get', path: '/policy/versions/{version}', id: 'readPolicy' },
    summary: 'An access file that was applied',
    params: z.object({ version: z.string() }),
    answers: { 200: { description: 'Its files', schema: AppliedFiles } },
  },
  {
    ...{ ...open, method: 'get', path: '/operator/sign-in', id: 'readSignIn' },
    summary: 'Where operators sign in, and as which client',
    answers: { 200: { description: 'Issuers', schema: SignIns } },
  },
  {
    ...{ listener: 'operator', callers: ['proof'], method: 'post', path: '/operator/session', id: 'signIn' },
    summary: 'Exchange an ID token, or the token of a ServiceAccount, for a session of an operator',
    description:
      'RFC 8693. The `nonce` of the ID token is the base64url SHA-256 of `meshpass operator sign-in ` and the thumbprint of the DPoP key.',
    request: { type: 'application/x-www-form-urlencoded', schema: SignInForm },
    answers: { 200: { description: 'The session', schema: OperatorSession } },
  },
  {
    ...{ ...on, method: 'get', path: '/operator/session', id: 'whoAmI' },
    summary: 'Who the operator is, and what they may do',
    answers: { 200: { description: 'The operator', schema: WhoAmI } },
  },
  {
    ...{ ...on, method: 'post', path: '/operator/session/confirm', id: 'confirmSignIn' },
    summary: 'Confirm the sign-in of the operator who asks, by an ID token that their issuer has just given',
    description:
      'OpenID Connect Core 1.0, section 12. Works where everything else is refused with `operator_unconfirmed`.',
    request: { schema: ConfirmSignInOrder },
    answers: { 200: { description: 'What they may do now', schema: ConfirmedSignIn } },
  },
  {
    ...{ ...on, method: 'delete', path: '/operator/session', id: 'signOut' },
    summary: 'End the session of the operator who asks',
    answers: { 204: { description: 'It is over' } },
  },
  {
    ...{ ...on, method: 'get', path: '/operator/roles', id: 'listRoles' },
    summary: 'What each role may do',
    answers: { 200: { description: 'Actions', schema: RolesOfActions } },
  },
  {
    ...{ ...on, method: 'get', path: '/operator/sessions', id: 'listOperators' },
    summary: 'Operators who are signed in',
    answers: { 200: { description: 'Their sessions', schema: OperatorSessions } },
  },
  {
    ...{ ...on, method: 'post', path: '/operator/sessions/close', id: 'closeOperators' },
    summary: 'End sessions of operators',
    request: { schema: CloseOperatorsOrder },
    answers: { 200: { description: 'Those that ended', schema: ClosedOperators } },
  },
  {
    ...{ ...on, method: 'get', path: '/operator/confirmations', id: 'listConfirmations' },
    summary: 'What waits for a second person',
    query: ConfirmationsQuery,
    answers: { 200: { description: 'The oldest first; by id: with its parameters', schema: Confirmations } },
  },
  {
    ...{ ...on, method: 'post', path: '/operator/confirmations/confirm', id: 'confirm' },
    summary: 'Confirm what another operator asked for; it runs at once',
    request: { schema: ConfirmOrder },
    answers: { 200: { description: 'What the action answers', schema: z.looseObject({}) } },
  },
  {
    ...{ ...on, method: 'post', path: '/operator/confirmations/withdraw', id: 'withdrawConfirmation' },
    summary: 'Withdraw what waits for a second person',
    request: { schema: WithdrawOrder },
    answers: { 200: { description: 'What nobody can confirm any more', schema: Withdrawn } },
  },
];
