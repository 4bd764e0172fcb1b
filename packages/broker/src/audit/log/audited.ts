/**
 * One decision, one row, whichever way the request leaves. The row of an allowed decision is written in the transaction
 * that makes it true; the row of a refusal is durable before the refusal is answered. Refusals of those who hold no session, beyond
 * what each source may write, are counted instead (meter.ts).
 */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { Clock } from '../../clock/clock.ts';
import { groupOf } from '../../limits/source-address.ts';
import { auditRow, type Draft } from './event.ts';
import type { Entry, Journal } from './journal.ts';
import type { RefusalMeter } from './refusal-meter.ts';

export interface AuditContext {
  readonly journal: Journal;
  readonly clock: Clock;
  /** Grants, by name, each with the place that gives it. */
  readonly ruleOf?: (grants: string) => string | undefined;
  /** Bounds the rows of those who are refused without a session; absent: each has its own. */
  readonly meter?: Pick<RefusalMeter, 'admit'>;
  /** Told once a decision: for metrics and log. */
  readonly observe: (draft: Draft, outcome: 'allowed' | 'refused', error?: MeshpassError) => void;
}

/** Makes a decision durable, together with what it changes. To be called once, before answering. */
export type Commit = (changes?: Omit<Entry, 'audit'> & { readonly also?: Entry['audit'] }) => Promise<void>;

/**
 * @param act decides; fills the draft as it learns; commits when it allows
 * @throws MeshpassError what `act` throws, after its refusal has been recorded; `store_unavailable` when that fails
 */
export async function audited<T>(context: AuditContext, draft: Draft, act: (commit: Commit) => Promise<T>): Promise<T> {
  let committed = false;
  const commit: Commit = async ({ also = [], ...changes } = {}) => {
    learnRule(context, draft);
    const row = auditRow(draft, 'allowed', draft.reason ?? '', undefined, context.clock());
    await context.journal.write({ ...changes, audit: [...also, row] });
    committed = true;
    context.observe(draft, 'allowed');
  };
  try {
    return await act(commit);
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    if (committed) throw error;
    draft.metered =
      isMetered(draft) && context.meter?.admit(draft, error.code, groupOf(draft.source ?? 'unknown')) === false;
    context.observe(draft, 'refused', error);
    if (draft.metered) throw error;
    const reason = typeof error.detail.reason === 'string' ? `${error.message} ${error.detail.reason}` : error.message;
    learnRule(context, draft);
    const row = auditRow(draft, 'refused', reason, error.code, context.clock());
    await context.journal.write({ audit: [row] });
    throw error;
  }
}

/**
 * Nothing that was proven says who it is: neither a session, nor a subject that its issuer confirmed, nor a token of ours. Who asks
 * for a session and gets none is as good as that: issuers confirm anybody, GitHub Actions every job in the world.
 */
function isMetered({ action, known, sessionId, subject }: Draft): boolean {
  return action === 'session.open' || (!known && sessionId === undefined && subject === undefined);
}

function learnRule({ ruleOf }: AuditContext, draft: Draft): void {
  if (draft.grant !== undefined) draft.rule ??= ruleOf?.(draft.grant);
}
