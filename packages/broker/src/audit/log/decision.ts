/**
 * Records decisions in the audit log. The steps of a request add what they learn to its audit event, and refuse the
 * request by throwing a MeshpassError. Every decision produces a single row. The row of an allowed request is written
 * in the same transaction as its changes, and the row of a refusal is durable before the client receives the response.
 * If clients without a session are refused more often than the limit for their source permits, those refusals are only
 * counted (refusal-meter.ts).
 */
import { type MeshpassError, sourceGroup } from '@meshpass/identity';
import type { Clock } from '../../base/index.ts';
import { type AuditEvent, auditRow } from './event.ts';
import type { Journal } from './journal.ts';
import type { RefusalMeter } from './refusal-meter.ts';
import type { CollectChanges } from './unit.ts';

export interface AuditContext {
  readonly journal: Journal;
  readonly clock: Clock;
  /** Returns the given grants, separated by commas, with their positions in the access file. */
  readonly ruleOf?: (grants: string) => string | undefined;
  /** Limits the number of rows for refusals without a session. If absent, every refusal gets its own row. */
  readonly meter?: Pick<RefusalMeter, 'admit'>;
  /**
   * Called once per decision, for metrics and for the process log. `metered` means that the refusal was only counted
   * and has no row of its own.
   */
  readonly observe: (
    event: AuditEvent,
    outcome: 'allowed' | 'refused',
    error?: MeshpassError,
    metered?: boolean,
  ) => void;
}

/**
 * Prepares the audit row and the changes of an allowed request, so that they can be written in the same transaction as
 * another decision.
 * @param written called once the store has the changes, to put them into effect
 * @returns the changes, and a function to call once the store has them
 */
export function prepareAllowed(
  context: Pick<AuditContext, 'ruleOf' | 'clock' | 'observe'>,
  event: AuditEvent,
  changes: CollectChanges = () => {},
  written: () => void = () => {},
): { readonly changes: CollectChanges; readonly written: () => void } {
  const row = auditRow(withRule(context, event), 'allowed', event.reason ?? '', undefined, context.clock());
  return {
    changes: (tx) => {
      changes(tx);
      tx.audit(row);
    },
    written: () => {
      event.written = true;
      context.observe(event, 'allowed');
      written();
    },
  };
}

/**
 * Writes the audit row and the changes of an allowed request atomically. This must be called once per decision, before
 * the response is sent.
 * @param written called as soon as the store is known to have the changes; see `Journal.transaction`
 * @throws MeshpassError `store_unavailable`, `overloaded`, `proof_replayed`. Nothing was written in that case, unless
 *   the store's response was lost
 */
export async function recordAllowed(
  context: AuditContext,
  event: AuditEvent,
  changes?: CollectChanges,
  written?: () => void,
): Promise<void> {
  const allowed = prepareAllowed(context, event, changes, written);
  await context.journal.transaction(allowed.changes, allowed.written);
}

/**
 * Writes an audit row for a refusal. If its source has exceeded the limit, the refusal is only counted.
 * @returns whether the refusal was only counted
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function recordRefusal(
  context: AuditContext,
  event: AuditEvent,
  error: MeshpassError,
): Promise<{ metered: boolean }> {
  const { meter, observe, journal, clock } = context;
  const metered = isMetered(event) && meter?.admit(event, error.code, sourceGroup(event.source ?? 'unknown')) === false;
  observe(event, 'refused', error, metered);
  if (metered) return { metered };
  const reason = typeof error.detail.reason === 'string' ? `${error.message} ${error.detail.reason}` : error.message;
  const row = auditRow(withRule(context, event), 'refused', reason, error.code, clock());
  await journal.transaction((tx) => tx.audit(row));
  return { metered };
}

/**
 * Whether the refused client is unknown, which means that it does not have a session, a subject confirmed by an issuer,
 * or one of our tokens. A client that fails to open a session is also unknown, because an issuer may confirm anyone.
 * GitHub Actions, for example, confirms every job in the world. The same applies to an operator who signs in without
 * having a role, to an operator token that is used without its key, and to an operator whom the issuer no longer
 * confirms.
 */
function isMetered({ action, known, unproven, sessionId, subject }: AuditEvent): boolean {
  const opens = action === 'session.open' || action === 'operator.sign-in';
  return opens || unproven || (!known && sessionId === undefined && subject === undefined);
}

function withRule({ ruleOf }: Pick<AuditContext, 'ruleOf'>, event: AuditEvent): AuditEvent {
  return event.grant === undefined ? event : { ...event, rule: event.rule ?? ruleOf?.(event.grant) };
}
