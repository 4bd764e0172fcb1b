/**
 * A decision as a value. Each step of a request returns what it granted, or why it refused, with the audit event as far as it is known
 * by then; the next step goes on from there. One decision leaves one row: that of a grant is written in the transaction that
 * makes it true, that of a refusal is durable before the refusal is answered. Refusals of those who hold no session, beyond what
 * each source may write, are counted instead (refusal-meter.ts).
 */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Clock } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';
import { type AuditEvent, auditRow } from './event.ts';
import type { Entry, Journal } from './journal.ts';
import type { RefusalMeter } from './refusal-meter.ts';

export type Outcome<T> = Granted<T> | Refused;

export interface Granted<T> {
  readonly granted: true;
  readonly event: AuditEvent;
  readonly value: T;
}

export interface Refused {
  readonly granted: false;
  readonly event: AuditEvent;
  readonly error: MeshpassError;
}

export function granted<T>(event: AuditEvent, value: T): Granted<T> {
  return { granted: true, event, value };
}

/** @param thrown whatever a step threw; what is no MeshpassError becomes `internal` */
export function refused(event: AuditEvent, thrown: unknown): Refused {
  return { granted: false, event, error: toMeshpassError(thrown) };
}

/** Whether its grant has a row, and what was granted is not given out: it ended meanwhile, or something failed after it. */
export function isWithheld({ event }: Refused): boolean {
  return event.row.written;
}

export interface AuditContext {
  readonly journal: Journal;
  readonly clock: Clock;
  /** Grants, by name, each with the place that gives it. */
  readonly ruleOf?: (grants: string) => string | undefined;
  /** Bounds the rows of those who are refused without a session; absent: each has its own. */
  readonly meter?: Pick<RefusalMeter, 'admit'>;
  /** Called once for each decision, for metrics and log; `metered`: the refusal was counted and has no row of its own. */
  readonly observe: (
    event: AuditEvent,
    outcome: 'allowed' | 'refused',
    error?: MeshpassError,
    metered?: boolean,
  ) => void;
}

/** What a grant changes in the store; `also`: rows of what it ends. */
export type Changes = Omit<Entry, 'audit'> & { readonly also?: Entry['audit'] };

/**
 * Writes the row of a grant together with what it changes: both, or neither. To be called once for each decision, before its answer.
 * @returns refused with `store_unavailable`, `overloaded` or `proof_replayed` where nothing was written
 */
export async function recordGrant(
  context: AuditContext,
  event: AuditEvent,
  { also = [], ...changes }: Changes = {},
): Promise<Outcome<void>> {
  const row = auditRow(withRule(context, event), 'allowed', event.reason ?? '', undefined, context.clock());
  try {
    await context.journal.write({ ...changes, audit: [...also, row] });
  } catch (thrown) {
    return refused(event, thrown);
  }
  event.row.written = true;
  context.observe(event, 'allowed');
  return granted(event, undefined);
}

/**
 * Writes the row of a refusal, or counts it.
 * @param unproven nothing shows that it is of the session that its event names
 * @returns whether it was only counted
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function recordRefusal(
  context: AuditContext,
  { event, error }: Refused,
  unproven = false,
): Promise<{ metered: boolean }> {
  const { meter, observe, journal, clock } = context;
  const metered =
    (unproven || isMetered(event)) && meter?.admit(event, error.code, groupOf(event.source ?? 'unknown')) === false;
  observe(event, 'refused', error, metered);
  if (metered) return { metered };
  const reason = typeof error.detail.reason === 'string' ? `${error.message} ${error.detail.reason}` : error.message;
  await journal.write({ audit: [auditRow(withRule(context, event), 'refused', reason, error.code, clock())] });
  return { metered };
}

/**
 * Nothing that was proven says who it is: neither a session, nor a subject that its issuer confirmed, nor a token of ours. Who asks
 * for a session and gets none is as good as that: issuers confirm anybody, GitHub Actions every job in the world. So is whoever
 * has an operator's token and not its key, and an operator whom their issuer does not confirm any more.
 */
function isMetered({ action, known, unproven, sessionId, subject }: AuditEvent): boolean {
  return action === 'session.open' || unproven || (!known && sessionId === undefined && subject === undefined);
}

function withRule({ ruleOf }: AuditContext, event: AuditEvent): AuditEvent {
  return event.grant === undefined ? event : { ...event, rule: event.rule ?? ruleOf?.(event.grant) };
}
