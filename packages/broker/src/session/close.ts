/**
 * The end of a session. In memory it is over before this function first waits, so that no request made after it gets
 * anything; then, in this order: the store with its audit row, the edges, the mesh's list of revoked principals.
 * A store that does not answer delays the edges by half a second at most, and is asked until it has it.
 */
import { auditRow, type Draft, draftEvent } from '../audit/log/event.ts';
import type { Entry, Journal } from '../audit/log/journal.ts';
import { type Clock, type Random, seconds, timestamp } from '../clock/clock.ts';
import type { RevokedPrincipal } from '../reconcile/contract.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import { type Denies, undeniedDetail } from './deny-ended.ts';
import type { Feed } from './feed.ts';
import type { Live, LiveIndex } from './live.ts';
import type { Revocations } from './revocations.ts';

export interface CloseContext {
  readonly live: LiveIndex;
  readonly journal: Journal;
  readonly feed: Feed;
  readonly revocations: Revocations;
  readonly denies: Denies;
  /** Life of identity tokens. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onClosed: (cause: CloseCause) => void;
  readonly onFailure: (cause: unknown) => void;
}

const STORE_PATIENCE_MS = 500;
const RETRY_MS = 1_000;

export interface CloseRequest {
  readonly cause: CloseCause;
  /** Who asked, where somebody did. */
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
  readonly detail?: Record<string, unknown> | undefined;
}

/**
 * Ends a session in memory, in the store, at the edges and in the mesh.
 *
 * @returns once the store has it. By then the message to the edges and the change of the mesh's list of revoked principals are queued,
 *   not delivered. At once where the session was over already.
 */
export async function closeSession(context: CloseContext, live: Live, request: CloseRequest): Promise<void> {
  if (live.ended) return;
  const entry = closingEntry(context, live, request);
  endInMemory(context, live, request.cause);
  const stored = untilStored(context, entry);
  await Promise.race([stored, new Promise((resolve) => setTimeout(resolve, STORE_PATIENCE_MS).unref())]);
  announceEnd(context, live);
  await stored;
}

/** From here on no request of the session is served. */
export function endInMemory(context: CloseContext, live: Live, cause: CloseCause): void {
  live.ended = { cause, at: seconds(context.clock) };
  live.abort.abort();
  context.live.remove(live);
  context.onClosed(cause);
}

/** What the store is told of the end. */
export function closingEntry(context: CloseContext, live: Live, request: CloseRequest) {
  const { id, attestation } = live.session;
  const denied = context.denies(request.cause);
  const draft: Draft = {
    ...draftEvent('session.close', request, context.clock, context.random),
    sessionId: id,
    subject: attestation.subject,
    login: attestation.login,
    issuer: attestation.issuer,
    workspace: attestation.workspace.key,
    detail: { cause: request.cause, ...request.detail, ...undeniedDetail(revokedPrincipals(live, denied)) },
  };
  const reason = `The session is over: ${CLOSED_BECAUSE[request.cause]}.`;
  return {
    closed: [{ id, closed_at: timestamp(seconds(context.clock)), close_cause: request.cause }],
    audit: [auditRow(draft, 'ended', reason, undefined, context.clock())],
  } satisfies Entry;
}

/** Tells the edges and the mesh. */
export function announceEnd(context: CloseContext, live: Live): void {
  context.feed.closed(live.session.id, CLOSED_BECAUSE[live.ended?.cause ?? 'expired']);
  const { id } = live.session;
  const denied = context.denies(live.ended?.cause);
  const tokensUntil = seconds(context.clock) + context.tokenSeconds;
  context.revocations.add(
    revokedPrincipals(live, denied).map((one) => ({ ...one, sessionId: id, until: Math.max(one.until, tokensUntil) })),
  );
}

/**
 * Principals that may hold a valid SVID; those that never asked for one have nothing to revoke.
 * @param denied whether the mesh is to deny them until it has expired
 */
export function revokedPrincipals(
  live: Live,
  denied: boolean,
  only: (grant: string) => boolean = () => true,
): RevokedPrincipal[] {
  return live.session.principals.flatMap((principal) => {
    const until = live.lastNotAfter.get(principal.grant);
    if (until === undefined || !only(principal.grant)) return [];
    const { namespace, serviceAccount, spiffeId } = principal;
    return [{ namespace, serviceAccount, spiffeId, until, undenied: !denied }];
  });
}

/** The store may be away; what ended must not come back to life at the next start. */
export async function untilStored(context: CloseContext, entry: Entry): Promise<void> {
  for (;;) {
    try {
      return await context.journal.write(entry);
    } catch (thrown) {
      context.onFailure(thrown);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    }
  }
}
