/**
 * The life cycle of a session: it opens, is replaced by the next one of its workspace, may lose single grants, and closes. Every
 * change of the live sessions is made here, but for what they gain (widen.ts): in memory, in the store with its audit row, at the
 * edges and in the mesh.
 */
import { type Attestation, MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import { type AuditEvent, auditRow, identityMembers, newEvent } from '../audit/log/event.ts';
import type { Entry, Journal } from '../audit/log/journal.ts';
import { type Clock, type Random, seconds, timestamp } from '../clock/clock.ts';
import type { RevokedPrincipal } from '../reconcile/contract.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import { type Denies, undeniedDetail } from './deny-ended.ts';
import type { Feed } from './feed.ts';
import type { Live, LiveIndex } from './live.ts';
import type { Revocations } from './revocations.ts';
import { narrowedRow, principalRows, revokedRows, sessionRow } from './rows.ts';
import type { HeldGrant, Session } from './session.ts';

export interface LifecycleContext {
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

export interface OpenContext extends LifecycleContext {
  readonly audit: AuditContext;
  /** Length of a lease, seconds. */
  readonly leaseSeconds: number;
}

export interface Opening {
  /** Authorized, and not live yet. */
  readonly session: Session;
  /** Remembers the proof, so that it is taken once. */
  readonly replay?: Entry['replay'] | undefined;
  /** The decision that opens it. */
  readonly event: AuditEvent;
}

const STORE_PATIENCE_MS = 500;
const RETRY_MS = 1_000;

/**
 * Opens a session, and ends the one that its workspace has had. It is live once the store has it. One at a time for a workspace.
 *
 * @returns refused with `workspace_not_owned`, `proof_replayed`, `store_unavailable`, `overloaded`; nothing has changed then
 */
export async function openSession(context: OpenContext, opening: Opening): Promise<Outcome<Live>> {
  const previous = context.live.byWorkspace(opening.session.attestation.workspace.key);
  if (previous) return await replaceSession(context, previous, opening);
  const written = await recordGrant(context.audit, opening.event, openingEntry(opening));
  return written.granted ? granted(opening.event, begin(context, opening.session)) : written;
}

/** The end of the previous session and the begin of the next are one transaction: a workspace is never left with two, or with none. */
async function replaceSession(context: OpenContext, previous: Live, opening: Opening): Promise<Outcome<Live>> {
  const { session, event } = opening;
  if (!sameSubject(previous.session, session))
    return refused(
      event,
      new MeshpassError('workspace_not_owned', 'This workspace has a live session of another user.', {
        detail: { reason: `It belongs to session ${previous.session.id}.` },
      }),
    );
  const { source, requestId } = event;
  const { closed, audit: also } = closingEntry(context, previous, { cause: 'replaced', source, requestId });
  const written = await recordGrant(context.audit, event, { ...openingEntry(opening), closed, also });
  if (!written.granted) return written;
  // It may have ended while the store was writing.
  if (!previous.ended) {
    endInMemory(context, previous, 'replaced');
    announceEnd(context, previous);
  }
  return granted(event, begin(context, session));
}

/**
 * Takes grants from a live session, or shortens them; without any left it closes.
 *
 * @param grants what it holds from now on
 * @param why `reason` in words, for the audit log
 * @returns once the store has it; in memory, at the edges and in the mesh's queue it is done before this first waits
 */
export async function narrowSession(
  context: LifecycleContext,
  live: Live,
  grants: readonly HeldGrant[],
  { cause, reason }: { readonly cause: CloseCause; readonly reason: string },
): Promise<void> {
  const { session } = live;
  if (live.ended) return;
  const kept = new Set(grants.map((grant) => grant.name));
  const lost = session.grants.filter(({ name }) => !kept.has(name)).map(({ name }) => name);
  const shorter = grants.filter(({ name, until }) =>
    session.grants.some((had) => had.name === name && had.until > until),
  );
  if (lost.length === 0 && shorter.length === 0) return;
  if (grants.length === 0) return await closeSession(context, live, { cause, detail: { lost, reason } });

  const revoked = revokedPrincipals(live, context.denies(cause), (grant) => !kept.has(grant));
  const expiresAt = Math.max(...grants.map((grant) => grant.until));
  const principals = session.principals.filter((principal) => kept.has(principal.grant));
  live.session = { ...session, grants, principals, expiresAt };
  // Its identity token names the grants.
  delete live.identityToken;
  context.feed.admit(live.session);
  live.waiting?.look();
  context.revocations.add(revoked);

  const at = timestamp(seconds(context.clock));
  const event = {
    ...newEvent('session.narrow', {}, context.clock, context.random),
    ...sessionMembers(session),
    grant: [...lost, ...shorter.map((grant) => grant.name)].join(','),
    detail: { cause, lost, shorter, ...gainedDetail(session, lost), ...undeniedDetail(revoked) },
  };
  const because = lost.length > 0 ? reason : 'The access file has shortened the grant.';
  const rest = {
    revoked: revokedRows(
      session,
      session.principals.filter(({ grant }) => lost.includes(grant)),
      at,
      cause,
    ),
    audit: [auditRow(event, 'ended', because, undefined, context.clock())],
  };
  let tries = 0;
  await untilStored(context, () => {
    // As it is by then. A gain that is being written meanwhile sees another session, and is written once more after this.
    if (tries++ > 0) live.session = { ...live.session };
    return { narrowed: narrowedRow(live.session), ...rest };
  });
}

/** For the audit row of an end: by which cause what ends had been gained. Empty where the session opened with all of it. */
function gainedDetail({ grants }: Session, lost: readonly string[]): Readonly<Record<string, unknown>> {
  const gained = grants.filter((one) => one.gained && lost.includes(one.name));
  if (gained.length === 0) return {};
  return { gained: Object.fromEntries(gained.map((one) => [one.name, one.gained!.cause])) };
}

export interface CloseRequest {
  readonly cause: CloseCause;
  /** Who asked, where somebody did. */
  readonly source?: string | undefined;
  readonly requestId?: string | undefined;
  readonly detail?: Record<string, unknown> | undefined;
}

/**
 * Ends a session. In memory it is over before this function first waits, so that no request made after it gets anything; then, in
 * this order: the store with its audit row, the edges, the mesh's list of revoked principals. A store that does not answer delays
 * the edges by half a second at most, and is asked until it has it.
 *
 * @returns once the store has it. By then the message to the edges and the change of the mesh's list of revoked principals are queued,
 *   not delivered. At once where the session was over already.
 */
export async function closeSession(context: LifecycleContext, live: Live, request: CloseRequest): Promise<void> {
  if (live.ended) return;
  const entry = closingEntry(context, live, request);
  endInMemory(context, live, request.cause);
  const stored = untilStored(context, entry);
  await Promise.race([stored, new Promise((resolve) => setTimeout(resolve, STORE_PATIENCE_MS).unref())]);
  announceEnd(context, live);
  await stored;
}

/**
 * What is known of a live session's developer has become less: teams or roles are gone. Follow it with `recheckSession`, which takes the
 * grants that depended on them. The store keeps the attestation of the opening; after a restart drop-lost.ts applies the losses again.
 */
export function replaceAttestation(live: Live, attestation: Attestation): void {
  live.session = { ...live.session, attestation };
}

/** For the audit events of a session. */
export function sessionMembers({ id, attestation }: Session) {
  return { sessionId: id, ...identityMembers(attestation) };
}

/**
 * The store may be away; what ended must not come back to life at the next start.
 * @param entry a function is asked at every try: what it writes may be another by then
 */
export async function untilStored(
  { journal, onFailure }: Pick<LifecycleContext, 'journal' | 'onFailure'>,
  entry: Entry | (() => Entry),
): Promise<void> {
  for (;;) {
    try {
      return await journal.write(typeof entry === 'function' ? entry() : entry);
    } catch (thrown) {
      // So many end at once that the journal is full: they wait, and nothing has failed.
      if (toMeshpassError(thrown).code !== 'overloaded') onFailure(thrown);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    }
  }
}

function openingEntry({ session, replay }: Opening) {
  const opened = { session: sessionRow(session), principals: principalRows(session) };
  return { opened, ...(replay ? { replay } : {}) };
}

/** What the store is told of the end. */
function closingEntry(context: LifecycleContext, live: Live, request: CloseRequest) {
  const { session } = live;
  const denied = context.denies(request.cause);
  const event = {
    ...newEvent('session.close', request, context.clock, context.random),
    ...sessionMembers(session),
    detail: { cause: request.cause, ...request.detail, ...undeniedDetail(revokedPrincipals(live, denied)) },
  };
  const reason = `The session has ended: ${CLOSED_BECAUSE[request.cause]}.`;
  return {
    closed: [{ id: session.id, closed_at: timestamp(seconds(context.clock)), close_cause: request.cause }],
    audit: [auditRow(event, 'ended', reason, undefined, context.clock())],
  } satisfies Entry;
}

/** From here on its requests are served. */
function begin(context: OpenContext, session: Session): Live {
  const live: Live = {
    session,
    leaseUntil: session.openedAt + context.leaseSeconds,
    awaitingHeartbeat: false,
    lastNotAfter: new Map(),
    certified: new Map(),
    signedUnder: new Map(),
    abort: new AbortController(),
  };
  context.live.add(live);
  context.feed.admit(session);
  return live;
}

/** From here on no request of the session is served. */
function endInMemory(context: LifecycleContext, live: Live, cause: CloseCause): void {
  live.ended = { cause, at: seconds(context.clock) };
  live.abort.abort();
  context.live.remove(live);
  context.onClosed(cause);
}

/** Tells the edges and the mesh. */
function announceEnd(context: LifecycleContext, live: Live): void {
  const { id } = live.session;
  context.feed.closed(id, live.ended?.cause ?? 'expired');
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
function revokedPrincipals(
  live: Live,
  denied: boolean,
  only: (grant: string) => boolean = () => true,
): RevokedPrincipal[] {
  return live.session.principals.flatMap((principal) => {
    const until = live.lastNotAfter.get(principal.spiffeId);
    if (until === undefined || !only(principal.grant)) return [];
    const { namespace, serviceAccount, spiffeId } = principal;
    return [{ namespace, serviceAccount, spiffeId, until, undenied: !denied }];
  });
}

/** By id at the issuer: a login may change, and may later be somebody else's. */
function sameSubject({ attestation: a }: Session, { attestation: b }: Session): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}
