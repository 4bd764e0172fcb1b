/** One decision. The draft is filled as a request proceeds; what stands in it when the request ends is what is written. */
import { plainText } from '@meshpass/identity/text';
import { type Clock, type Random, uuidv7 } from '../../clock/clock.ts';

export type Action =
  | 'session.open'
  | 'session.heartbeat'
  | 'session.narrow'
  | 'session.close'
  | 'certificate.issue'
  | 'token.issue'
  | 'services.read'
  | 'operator.close'
  | 'operator.list'
  | 'operator.drill'
  | 'operator.rotate'
  | 'github.events'
  | 'edge.stream'
  | 'tunnel'
  | 'policy.plan'
  | 'policy.apply'
  | 'policy.watch'
  | 'audit.adopt'
  | 'audit.prune'
  | 'audit.restore'
  | 'key.rotate'
  | 'broker.start'
  | 'broker.stop';

/** Where a request came from. */
export interface Origin {
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
}

export interface Draft extends Origin {
  readonly id: string;
  readonly action: Action;
  /** Whoever asks has shown a token that only an operator, an edge or GitHub has. Subject and session are known besides. */
  known?: boolean;
  /** Its refusal was counted, and has no row of its own. */
  metered?: boolean;
  subject?: string | undefined;
  login?: string | undefined;
  issuer?: string | undefined;
  sessionId?: string | undefined;
  workspace?: string | undefined;
  grant?: string | undefined;
  /** Each grant with the place in the access file that gives it. */
  rule?: string | undefined;
  target?: string | undefined;
  proofHash?: string | undefined;
  /** Why it was allowed. */
  reason?: string | undefined;
  detail?: Record<string, unknown> | undefined;
}

export type Outcome = 'allowed' | 'refused' | 'ended';

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

export function draftEvent(action: Action, origin: Origin, clock: Clock, random: Random): Draft {
  return { id: uuidv7(clock, random), action, source: origin.source, requestId: origin.requestId };
}

const MAX_TEXT = 1024;
const MAX_DETAIL = 8192;

/** Bounded, and free of what would move a terminal's cursor or turn its text: callers put foreign text into drafts. */
export function auditRow(
  draft: Draft,
  outcome: Outcome,
  reason: string,
  code: string | undefined,
  at: number,
): AuditRow {
  return {
    id: draft.id,
    time: new Date(at).toISOString(),
    action: draft.action,
    outcome,
    code: code ?? null,
    reason: text(reason) ?? '',
    subject: text(draft.subject),
    login: text(draft.login),
    issuer: text(draft.issuer),
    session_id: text(draft.sessionId),
    workspace: text(draft.workspace),
    grant_name: text(draft.grant),
    rule: text(draft.rule),
    target: text(draft.target),
    proof_hash: text(draft.proofHash),
    source: text(draft.source),
    request_id: text(draft.requestId),
    detail: draft.detail === undefined ? null : storable(plainText(JSON.stringify(draft.detail).slice(0, MAX_DETAIL))),
  };
}

function text(value: string | undefined): string | null {
  return value === undefined ? null : storable(plainText(value.slice(0, MAX_TEXT)));
}

/** What a PostgreSQL `text` can hold. */
export function storable(value: string): string {
  return value.isWellFormed() && !value.includes('\0') ? value : value.toWellFormed().replaceAll('\0', '\ufffd');
}
