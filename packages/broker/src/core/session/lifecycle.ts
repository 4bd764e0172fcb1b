/**
 * Opens, narrows and closes sessions. A new session replaces the previous session of the same workspace. Each change is
 * applied in memory, in the store (together with its audit row), at the edges and in the mesh. Grants are added in
 * widen.ts.
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import {
  type AuditAction,
  type AuditEvent,
  type AuditRow,
  auditRow,
  type CollectChanges,
  createAuditEvent,
  type Origin,
  type ReplayKey,
} from '../../audit/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import type { RevokedPrincipal } from '../../mesh/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { ADD_PRINCIPALS, CLOSE_SESSIONS, OPEN_SESSIONS, REVOKE_PRINCIPALS, SET_LIMITS } from '../session-sql.ts';
import type { SessionContext } from './context.ts';
import { undeniedDetail } from './deny/ended.ts';
import { createLiveSession, type Live, sessionMembers } from './live.ts';
import { limitRows, principalRow, revokedRows, sessionRow } from './rows.ts';
import type { Principal, Session } from './session.ts';
import type { StoreWrite, Write } from './write-queue.ts';

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
  store: StoreWrite,
): Promise<Live> {
  const previous = context.live.byWorkspace(session.attestation.workspace.key);
  if (previous && !sameSubject(previous.session, session)) {
    const detail = { reason: `That session is ${previous.session.id}.` };
    const why = 'A different user has a live session in this workspace.';
    throw new MeshpassError('workspace_not_owned', why, { detail });
  }
  const { source, requestId } = event;
  const replaced = previous && ending(context, previous, { cause: 'replaced', source, requestId });
  const lease = { leaseUntil: session.openedAt + context.config.leaseSeconds, awaitingHeartbeat: false };
  const live = createLiveSession(session, lease);
  const opening: Write = {
    changes: (tx) => {
      replaced?.changes(tx);
      tx.once(replay);
      tx.write(OPEN_SESSIONS, sessionRow(session));
      tx.write(ADD_PRINCIPALS, ...session.principals.map((one) => principalRow(session.id, one)));
    },
    written: () => {
      replaced?.takeEffect();
      context.live.add(live);
      context.feed.admit(session);
      onLive(live);
    },
  };
  await store(opening, event);
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

/** Why a session is closed, and which request caused it, if any. */
export interface CloseRequest extends Origin {
  readonly cause: CloseCause;
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
  const { changes, takeEffect } = ending(context, live, request);
  takeEffect();
  await context.writes.cut(workspaceKey(live), changes);
}

/**
 * Removes or shortens grants of a live session, and closes the session if no grants are left. Memory, the edges and the
 * mesh's queue are updated before the first await.
 *
 * @param ends when each grant that the session keeps ends, in Unix seconds. A time that is later than the grant's
 *   current end has no effect.
 * @param why the cause of the change, and its reason as it appears in the audit log
 * @returns a promise that resolves once the change has been stored
 */
export async function narrowSession(
  context: SessionContext,
  live: Live,
  ends: ReadonlyMap<string, number>,
  { cause, reason }: { readonly cause: CloseCause; readonly reason: string },
): Promise<void> {
  const { session } = live;
  if (live.ended) return;
  const lost = session.principals.filter(({ grant }) => !ends.has(grant));
  const kept = session.principals.flatMap((one) => {
    const end = ends.get(one.grant);
    return end === undefined ? [] : [end < one.until ? { ...one, until: end } : one];
  });
  const shorter = kept.filter((one) => !session.principals.includes(one));
  if (lost.length === 0 && shorter.length === 0) return;
  const names = lost.map(({ grant }) => grant);
  if (kept.length === 0) return await closeSession(context, live, { cause, detail: { lost: names, reason } });

  const revoked = revokedPrincipals(live.svids, lost, !context.denies(cause));
  replacePrincipals(context, live, kept);
  context.revocations.add(revoked);

  const at = timestamp(toUnixSeconds(context.clock));
  const gained = lost.filter((one) => one.gained);
  const members = {
    grant: [...names, ...shorter.map(({ grant }) => grant)].join(','),
    detail: {
      cause,
      lost: names,
      shorter: shorter.map(({ grant, until }) => ({ name: grant, until })),
      // If a lost grant was gained after the session opened, also record why it was gained.
      ...(gained.length > 0 && { gained: Object.fromEntries(gained.map((one) => [one.grant, one.gained!.cause])) }),
      ...undeniedDetail(revoked),
    },
  };
  const because = lost.length > 0 ? reason : 'The access file has shortened the grant.';
  const row = endedRow(context, 'session.narrow', session, {}, members, because);
  await context.writes.cut(workspaceKey(live), (tx) => {
    tx.write(REVOKE_PRINCIPALS, ...revokedRows(session, lost, at, cause));
    tx.write(SET_LIMITS, ...limitRows(session, shorter));
    tx.audit(row);
  });
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

/**
 * Prepares the end of a session. `changes` end it in the store. `takeEffect` ends it in memory, so that its requests
 * are rejected immediately, and notifies the edges and the mesh.
 */
function ending(context: SessionContext, live: Live, { cause, detail, ...origin }: CloseRequest) {
  const { session, svids } = live;
  const { id } = session;
  const now = toUnixSeconds(context.clock);
  const undenied = !context.denies(cause);
  const reason = `The session has ended: ${CLOSE_EXPLANATIONS[cause]}.`;
  const details = undeniedDetail(revokedPrincipals(svids, session.principals, undenied));
  const members = { detail: { cause, ...detail, ...details } };
  const row = endedRow(context, 'session.close', session, origin, members, reason);
  return {
    changes: ((tx) => {
      tx.write(CLOSE_SESSIONS, { id, closed_at: timestamp(now), close_cause: cause });
      tx.audit(row);
    }) satisfies CollectChanges,
    takeEffect: () => {
      // The session may have ended in the meantime, for another cause.
      if (live.ended) return;
      const at = toUnixSeconds(context.clock);
      live.ended = { cause, at };
      live.abort.abort();
      context.live.remove(live);
      context.metrics.closed(cause);
      context.feed.closed(id, cause);
      const tokensUntil = at + context.config.tokenSeconds;
      const revoked = revokedPrincipals(svids, live.session.principals, undenied);
      context.revocations.add(
        revoked.map((one) => ({ ...one, sessionId: id, until: Math.max(one.until, tokensUntil) })),
      );
    },
  };
}

/** Builds the audit row of access that ends, which is not the outcome of a request. */
export function endedRow(
  { clock, random }: Pick<SessionContext, 'clock' | 'random'>,
  action: AuditAction,
  session: Session,
  origin: Origin,
  members: Pick<AuditEvent, 'grant' | 'target' | 'detail'>,
  reason: string,
): AuditRow {
  const event = { ...createAuditEvent(action, origin, clock, random), ...sessionMembers(session), ...members };
  return auditRow(event, 'ended', reason, undefined, clock());
}

/**
 * Returns the principals that may have a valid SVID. Principals for which a certificate was never requested do not need
 * to be revoked.
 * @param undenied see RevokedPrincipal
 */
export function revokedPrincipals(
  svids: Live['svids'],
  principals: readonly Principal[],
  undenied: boolean | undefined,
): RevokedPrincipal[] {
  return principals.flatMap(({ namespace, serviceAccount, spiffeId }) => {
    const until = svids.get(spiffeId)?.until;
    return until === undefined ? [] : [{ namespace, serviceAccount, spiffeId, until, undenied }];
  });
}

/**
 * Checks whether two sessions belong to the same user. Users are compared by their id at the issuer, because a login
 * can change and later belong to someone else.
 */
function sameSubject({ attestation: a }: Session, { attestation: b }: Session): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}
