/** Audit events, and the rows in which the audit log records them. */
import type { Attestation } from '@meshpass/identity';
import { plainText } from '@meshpass/identity/text';
import type { Selectable } from 'kysely';
import { type Clock, type Random, uuidv7 } from '../../base/index.ts';
import { type Tables, toStorableText } from '../../store/index.ts';

/** Values of `action`. docs/audit.md documents when each is written. */
export const AUDIT_ACTIONS = [
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
  'audit.prune',
  'audit.restore',
  'key.rotate',
  'broker.start',
  'broker.stop',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** Origin of a request. */
export interface Origin {
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
}

/**
 * The audit event of one decision, with the members known so far. Each step of a request adds what it has learned
 * (annotateEvent), so that a refusal by any later step is recorded with it.
 */
export interface AuditEvent extends Origin {
  readonly id: string;
  readonly action: AuditAction;
  /** Whether the row of the allowed request was written. A failure after that is not recorded as a second decision. */
  written: boolean;
  /**
   * Whether the client has presented a token that only operators, edges and GitHub have. This does not depend on
   * `subject` or `sessionId`.
   */
  readonly known?: boolean;
  /**
   * True if the client has not proved that it owns the session: its proof of possession is missing or was refused, or
   * the issuer did not confirm the operator in time.
   */
  readonly unproven?: boolean;
  readonly subject?: string | undefined;
  readonly login?: string | undefined;
  readonly issuer?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly workspace?: string | undefined;
  readonly grant?: string | undefined;
  /** Grants with their positions in the access file. */
  readonly rule?: string | undefined;
  readonly target?: string | undefined;
  readonly proofHash?: string | undefined;
  /** Reason why the request was allowed. */
  readonly reason?: string | undefined;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/** `ended` means that the event ends a grant, or that no client requested it. */
export type RowOutcome = 'allowed' | 'refused' | 'ended';

/**
 * An audit row that has no position in the log yet. Its time is RFC 3339 in UTC, and its text is safe for the database.
 */
export type AuditRow = Readonly<Omit<Selectable<Tables['audit']>, 'seq' | 'previous' | 'hash' | 'time'>> & {
  readonly time: string;
};

/**
 * Creates an event.
 * @param origin origin of the request; empty for the broker's own actions
 */
export function createAuditEvent(action: AuditAction, origin: Origin, clock: Clock, random: Random): AuditEvent {
  const { source, requestId } = origin;
  return { id: uuidv7(clock, random), action, written: false, source, requestId };
}

/** Adds members to an event. Details are added to those that the event already has. */
export function annotateEvent(event: AuditEvent, members: Partial<Omit<AuditEvent, 'id' | 'written'>>): void {
  const { detail, ...others } = members;
  Object.assign(event, others, detail && { detail: { ...event.detail, ...detail } });
}

/** Returns the event members for an identity confirmed by an issuer. */
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

/**
 * Builds a row. Events may contain untrusted text, so all text is truncated and stripped of characters that move a
 * terminal's cursor or change the text direction.
 */
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
    detail:
      event.detail === undefined ? null : toStorableText(plainText(JSON.stringify(event.detail).slice(0, MAX_DETAIL))),
  };
}

function text(value: string | undefined): string | null {
  return value === undefined ? null : toStorableText(plainText(value.slice(0, MAX_TEXT)));
}
