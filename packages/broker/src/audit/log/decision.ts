/**
 * Records decisions. Every decision produces one row. The row of an allowed request is written in the transaction that
 * makes it effective. A step refuses by throwing, and the refusal's row is durable before the client gets its response. Refusals
 * of clients without a session that exceed their source's limit are only counted (refusal-meter.ts).
 */
import type { MeshpassError } from '@meshpass/identity';
import { sourceGroup } from '@meshpass/identity/limits/source';
import type { Clock } from '../../base/index.ts';
import { type AuditEvent, auditRow } from './event.ts';
import type { Journal } from './journal.ts';
import type { RefusalMeter } from './refusal-meter.ts';
import type { CollectChanges } from './unit.ts';

export interface AuditContext {
  readonly journal: Journal;
  readonly clock: Clock;
  /** Lists grants with their positions in the access file. */
  readonly ruleOf?: (grants: string) => string | undefined;
  /** Limits the rows for refusals without a session. If absent, each refusal gets its own row. */
  readonly meter?: Pick<RefusalMeter, 'admit'>;
  /**
   * Called once per decision, for metrics and the process log. `metered` means that the refusal was only counted and
   * has no row.
   */
  readonly observe: (
    event: AuditEvent,
    outcome: 'allowed' | 'refused',
    error?: MeshpassError,
    metered?: boolean,
  ) => void;
}

/**
 * Prepares the row and changes of an allowed request, so that they can be written in the same transaction as those of another decision.
 * @param written called once the store has the changes, to put the changes into effect
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
 * Atomically writes the row and changes of an allowed request. Called once per decision, before the response is sent.
 * @param written called as soon as the store is known to have the changes; see `Journal.transaction`
 * @throws MeshpassError `store_unavailable`, `overloaded`, `proof_replayed`; in that case, nothing was written, unless
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
 * Writes a refusal's row, or only counts the refusal.
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
 * Whether the refused client is unknown: it has no session, no subject confirmed by an issuer, and none of our tokens.
 * A client that fails to open a session also counts as unknown, because an issuer may confirm anyone. GitHub Actions,
 * for example, confirms every job in the world. The same applies when an operator without a role signs in, when an
 * operator token is used without its key, and when the issuer no longer confirms an operator.
 */
function isMetered({ action, known, unproven, sessionId, subject }: AuditEvent): boolean {
  const opens = action === 'session.open' || action === 'operator.sign-in';
  return opens || unproven || (!known && sessionId === undefined && subject === undefined);
}

function withRule({ ruleOf }: Pick<AuditContext, 'ruleOf'>, event: AuditEvent): AuditEvent {
  return event.grant === undefined ? event : { ...event, rule: event.rule ?? ruleOf?.(event.grant) };
}
