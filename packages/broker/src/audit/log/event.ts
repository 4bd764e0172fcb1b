/** One decision, as it is written to the audit log. */
import type { Attestation } from '@meshpass/identity';
import { plainText } from '@meshpass/identity/text';
import { type Clock, type Random, uuidv7 } from '../../clock/clock.ts';

/** Every `action` that a row can have: docs/audit.md says when each is written. */
export const ACTIONS = [
  'session.open',
  'session.heartbeat',
  'session.narrow',
  'session.widen',
  'session.close',
  'sign_in.add',
  'sign_in.end',
  'sign_in.read',
  'sign_in.logout',
  'certificate.issue',
  'token.issue',
  'kubernetes.token',
  'services.read',
  'configuration.read',
  'operator.close',
  'operator.list',
  'operator.drill',
  'operator.rotate',
  'operator.sign-in',
  'operator.sign-out',
  'operator.confirm-sign-in',
  'operator.ask',
  'operator.confirm',
  'operator.withdraw',
  'github.events',
  'approval.list',
  'approval.request',
  'approval.withdraw',
  'approval.answer',
  'approval.revoke',
  'approval.emergency',
  'approval.review',
  'approval.overdue',
  'approval.expire',
  'approval.end',
  'edge.stream',
  'tunnel',
  'request',
  'policy.plan',
  'policy.apply',
  'policy.watch',
  'audit.adopt',
  'audit.prune',
  'audit.restore',
  'key.rotate',
  'broker.start',
  'broker.stop',
] as const;
export type Action = (typeof ACTIONS)[number];

/** Where a request came from. */
export interface Origin {
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
}

/** An event as far as it is known: whoever learns more makes a new one, `{ ...event, subject }`. */
export interface AuditEvent extends Origin {
  readonly id: string;
  readonly action: Action;
  /** Shared by every later form of the event: once its grant is written, whatever fails then is no second decision. */
  readonly row: { written: boolean };
  /** Whoever asks has shown a token that only an operator, an edge or GitHub has. Subject and session are known besides. */
  readonly known?: boolean;
  /** Nothing shows that it is the operator of the session: no proof by its key, or the issuer has not confirmed them in time. */
  readonly unproven?: boolean;
  readonly subject?: string | undefined;
  readonly login?: string | undefined;
  readonly issuer?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly workspace?: string | undefined;
  readonly grant?: string | undefined;
  /** Each grant with the place in the access file that gives it. */
  readonly rule?: string | undefined;
  readonly target?: string | undefined;
  readonly proofHash?: string | undefined;
  /** Why it was allowed. */
  readonly reason?: string | undefined;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/** `ended`: nobody asked for it, or it ends what was granted. */
export type RowOutcome = 'allowed' | 'refused' | 'ended';

/** A row of the audit log before it has its place there. Text is what a database can hold. */
export interface AuditRow {
  readonly id: string;
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly reason: string;
  readonly subject: string | null;
  readonly login: string | null;
  readonly issuer: string | null;
  readonly session_id: string | null;
  readonly workspace: string | null;
  readonly grant_name: string | null;
  /** Each grant with the place in the access file that gives it. */
  readonly rule: string | null;
  readonly target: string | null;
  /** SHA-256 of what was presented, hex. */
  readonly proof_hash: string | null;
  readonly source: string | null;
  readonly request_id: string | null;
  /** JSON text with what else an auditor wants to know. */
  readonly detail: string | null;
}

/** @param origin of the request; empty where the broker acts by itself */
export function newEvent(action: Action, origin: Origin, clock: Clock, random: Random): AuditEvent {
  const { source, requestId } = origin;
  return { id: uuidv7(clock, random), action, row: { written: false }, source, requestId };
}

/** Whose decision it is, from what an issuer confirmed. */
export function identityMembers({
  issuer,
  subject,
  login,
  workspace,
}: Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>) {
  return { issuer, subject, login, workspace: workspace.key };
}

const MAX_TEXT = 1024;
const MAX_DETAIL = 8192;

/** Bounded, and free of what would move a terminal's cursor or turn its text: callers put foreign text into events. */
export function auditRow(
  event: AuditEvent,
  outcome: RowOutcome,
  reason: string,
  code: string | undefined,
  at: number,
): AuditRow {
  return {
    id: event.id,
    time: new Date(at).toISOString(),
    action: event.action,
    outcome,
    code: code ?? null,
    reason: text(reason) ?? '',
    subject: text(event.subject),
    login: text(event.login),
    issuer: text(event.issuer),
    session_id: text(event.sessionId),
    workspace: text(event.workspace),
    grant_name: text(event.grant),
    rule: text(event.rule),
    target: text(event.target),
    proof_hash: text(event.proofHash),
    source: text(event.source),
    request_id: text(event.requestId),
    detail: event.detail === undefined ? null : storable(plainText(JSON.stringify(event.detail).slice(0, MAX_DETAIL))),
  };
}

function text(value: string | undefined): string | null {
  return value === undefined ? null : storable(plainText(value.slice(0, MAX_TEXT)));
}

/** What a PostgreSQL `text` can hold. */
export function storable(value: string): string {
  return value.isWellFormed() && !value.includes('\0') ? value : value.toWellFormed().replaceAll('\0', '\ufffd');
}
