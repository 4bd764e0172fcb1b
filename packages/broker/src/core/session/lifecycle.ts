/**
 * Opens and closes sessions. A new session replaces the previous session of the same workspace. Each change is applied
 * in memory, in the store (together with its audit row), at the edges and in the mesh. Grants are removed in narrow.ts
 * and added in widen.ts.
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import {
  type AuditEvent,
  auditRow,
  type CollectChanges,
  createAuditEvent,
  type ReplayKey,
  recordAllowed,
} from '../../audit/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import type { RevokedPrincipal } from '../../mesh/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { ADD_PRINCIPALS, CLOSE_SESSIONS, OPEN_SESSIONS } from '../statements.ts';
import type { SessionContext } from './context.ts';
import { undeniedDetail } from './deny/ended.ts';
import { createLiveSession, type Live, sessionMembers } from './live.ts';
import { principalRows, sessionRow } from './rows.ts';
import type { Principal, Session } from './session.ts';
import type { WithPendingCuts } from './write-queue.ts';

/** A session that is about to be opened. */
export interface PendingSession {
  /** The session, which is authorized but not live yet. */
  readonly session: Session;
  /** Identifies the single-use proof to mark as used, so that it is accepted only once. */
  readonly replay?: ReplayKey | undefined;
  /** The audit event for the decision to open the session. */
  readonly event: AuditEvent;
  /**
   * Called as soon as the session is live, even if opening it was reported as failed because the store's response was
   * lost.
   */
  readonly onLive: (live: Live) => void;
}

/**
 * Opens a session and ends the previous session of its workspace in a single transaction, so that a workspace never has
 * two sessions or none. The session is live as soon as it has been stored. Must be called during the workspace's turn
 * (see write-queue.ts).
 *
 * @throws MeshpassError `workspace_not_owned`, `proof_replayed`, `store_unavailable`, `overloaded`. An error means that
 *   nothing has changed, unless the store's response was lost. In that case, the unused session ends when its lease
 *   expires or when its workspace opens another session.
 */
export async function openSession(
  context: SessionContext,
  { session, replay, event, onLive }: PendingSession,
  together: WithPendingCuts,
): Promise<Live> {
  const previous = context.live.byWorkspace(session.attestation.workspace.key);
  if (previous && !sameSubject(previous.session, session)) {
    const detail = { reason: `That session is ${previous.session.id}.` };
    const why = 'A different user has a live session in this workspace.';
    throw new MeshpassError('workspace_not_owned', why, { detail });
  }
  const { source, requestId } = event;
  const closes = previous && closing(context, previous, { cause: 'replaced', source, requestId });
  const lease = { leaseUntil: session.openedAt + context.leaseSeconds, awaitingHeartbeat: false };
  const live = createLiveSession(session, lease);
  const { changes, written } = together({
    changes: (tx) => {
      closes?.(tx);
      tx.once(replay);
      tx.write(OPEN_SESSIONS, sessionRow(session));
      tx.write(ADD_PRINCIPALS, ...principalRows(session));
    },
    written: () => {
      // The previous session may have ended while this write was in progress.
      if (previous && !previous.ended) end(context, previous, 'replaced');
      context.live.add(live);
      context.feed.admit(session);
      onLive(live);
    },
  });
  await recordAllowed(context.audit, event, changes, written);
  return live;
}

/**
 * Replaces a live session's principals in memory, and notifies the edges and any request that is waiting for the
 * session's configuration.
 */
export function replacePrincipals(
  { feed }: Pick<SessionContext, 'feed'>,
  live: Live,
  principals: readonly Principal[],
): void {
  live.session = { ...live.session, principals };
  // The cached identity token lists the session's grants, so it is now outdated.
  delete live.identityToken;
  feed.admit(live.session);
  live.waiting?.look();
}

/** Why a session is closed, and which request caused it. */
export interface CloseRequest {
  readonly cause: CloseCause;
  /** The caller's address, if a request caused the session to be closed. */
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
  readonly detail?: Record<string, unknown> | undefined;
}

/**
 * Closes a session. Even before the first await, the session's requests are rejected, and the updates to the edges and
 * the mesh are queued. The end of the session is then written to the store together with its audit row. The write is
 * retried until it succeeds.
 *
 * @returns a promise that resolves once the end has been stored, or immediately if the session had already ended
 */
export async function closeSession(context: SessionContext, live: Live, request: CloseRequest): Promise<void> {
  if (live.ended) return;
  const closes = closing(context, live, request);
  end(context, live, request.cause);
  await context.settling.cut(workspaceKey(live), closes);
}

/**
 * Replaces the attestation of a live session. The caller must then call touch() to remove any grants that depended on
 * the previous attestation.
 */
export function replaceAttestation(live: Live, attestation: Attestation): void {
  live.session = { ...live.session, attestation };
}

/** Returns the key of a session's workspace. */
export function workspaceKey({ session }: Live): string {
  return session.attestation.workspace.key;
}

/** Prepares the changes that end a session in the store. */
function closing(context: SessionContext, live: Live, request: CloseRequest): CollectChanges {
  const { session } = live;
  const denied = context.denies(request.cause);
  const event = {
    ...createAuditEvent('session.close', request, context.clock, context.random),
    ...sessionMembers(session),
    detail: { cause: request.cause, ...request.detail, ...undeniedDetail(revokedPrincipals(live, denied)) },
  };
  const reason = `The session has ended: ${CLOSE_EXPLANATIONS[request.cause]}.`;
  const closed = { id: session.id, closed_at: timestamp(toUnixSeconds(context.clock)), close_cause: request.cause };
  const row = auditRow(event, 'ended', reason, undefined, context.clock());
  return (tx) => {
    tx.write(CLOSE_SESSIONS, closed);
    tx.audit(row);
  };
}

/** Ends the session in memory, so that its requests are rejected immediately, and notifies the edges and the mesh. */
function end(context: SessionContext, live: Live, cause: CloseCause): void {
  const now = toUnixSeconds(context.clock);
  const { id } = live.session;
  live.ended = { cause, at: now };
  live.abort.abort();
  context.live.remove(live);
  context.onClosed(cause);
  context.feed.closed(id, cause);
  const tokensUntil = now + context.tokenSeconds;
  context.revocations.add(
    revokedPrincipals(live, context.denies(cause)).map((one) => ({
      ...one,
      sessionId: id,
      until: Math.max(one.until, tokensUntil),
    })),
  );
}

/**
 * Returns the principals that may have a valid SVID. Principals for which a certificate was never requested do not need
 * to be revoked.
 * @param denied whether the mesh denies the principals until their SVIDs expire
 * @param only returns whether to include a grant's principal. By default, all principals are included.
 */
export function revokedPrincipals(
  live: Live,
  denied: boolean,
  only: (grant: string) => boolean = () => true,
): RevokedPrincipal[] {
  return live.session.principals.flatMap((principal) => {
    const until = live.svids.get(principal.spiffeId)?.until;
    if (until === undefined || !only(principal.grant)) return [];
    const { namespace, serviceAccount, spiffeId } = principal;
    return [{ namespace, serviceAccount, spiffeId, until, undenied: !denied }];
  });
}

/**
 * Checks whether two sessions belong to the same user. Users are compared by their id at the issuer, because a login
 * can change and later belong to someone else.
 */
function sameSubject({ attestation: a }: Session, { attestation: b }: Session): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}
