/** Defines audit events, and the rows that record them in the audit log. */
import { type Attestation, plainText } from '@meshpass/identity';
import type { Selectable } from 'kysely';
import { type Clock, type Random, uuidv7 } from '../../base/index.ts';
import { type Tables, toStorableText } from '../../store/index.ts';
import type OCSF from '../export/ocsf.json';

/** The action of an event. See docs/interfaces/audit-actions.md for when each one is written. */
export type AuditAction = keyof (typeof OCSF)['actions'];

/** The source address and the id of a request. */
export interface Origin {
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
}

/**
 * An audit event, with the members known so far. Each step of a request adds members to the event (see
 * `annotateEvent`), so that the audit row contains them even if a later step throws an error.
 */
export interface AuditEvent extends Origin {
  readonly id: string;
  readonly action: AuditAction;
  /** Whether the row of an allowed request was written. A later failure is not recorded as a second decision. */
  written: boolean;
  /**
   * Whether the client has presented a valid credential that only an operator, an edge, GitHub, an issuer or a webhook
   * can have. This does not depend on `subject` or `sessionId`.
   */
  readonly known?: boolean;
  /**
   * Whether the client has failed to prove that it owns the session. Its proof of possession may be missing or invalid,
   * or the issuer may not have confirmed the operator in time.
   */
  readonly unproven?: boolean;
  readonly subject?: string | undefined;
  readonly login?: string | undefined;
  readonly issuer?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly workspace?: string | undefined;
  readonly grant?: string | undefined;
  /** The grants or operator roles that apply, with their positions in the access file. */
  readonly rule?: string | undefined;
  readonly target?: string | undefined;
  readonly proofHash?: string | undefined;
  /** Why the request was allowed. */
  readonly reason?: string | undefined;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/** The outcome of an event. `ended` means that the event ends a grant, or that no client requested it. */
export type RowOutcome = 'allowed' | 'refused' | 'ended';

/**
 * An audit row that has no position in the log yet. The time is in RFC 3339 format (UTC), and all text is safe to store
 * in the database.
 */
export type AuditRow = Readonly<Omit<Selectable<Tables['audit']>, 'seq' | 'previous' | 'hash' | 'time'>> & {
  readonly time: string;
};

/**
 * Creates an audit event.
 * @param origin the source and id of the request. Empty for the broker's own actions
 */
export function createAuditEvent(action: AuditAction, origin: Origin, clock: Clock, random: Random): AuditEvent {
  const { source, requestId } = origin;
  return { id: uuidv7(clock, random), action, written: false, source, requestId };
}

/** Adds members to an event. New details are merged with those that the event already has. */
export function annotateEvent(event: AuditEvent, members: Partial<Omit<AuditEvent, 'id' | 'written'>>): void {
  const { detail, ...others } = members;
  Object.assign(event, others, detail && { detail: { ...event.detail, ...detail } });
}

/** Returns the event members for an identity that an issuer has confirmed. */
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
 * Creates an event's audit row. Events may contain untrusted text, so all text is truncated and stripped of characters
 * that move a terminal's cursor or change the text direction.
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
