/** From an attestation to a live session: decide, write, and only then exist. */
import {
  type Attestation,
  formatSpiffe,
  grantNamespace,
  MAX_GRANTS,
  MeshpassError,
  serviceAccountName,
} from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Fact } from '../attest/github/losses.ts';
import type { Commit } from '../audit/log/audited.ts';
import { type Draft, storable } from '../audit/log/event.ts';
import type { Entry } from '../audit/log/journal.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import { type KeyedMutex, runExclusive } from '../limits/keyed-mutex.ts';
import { announceEnd, closingEntry, endInMemory } from './close.ts';
import type { Live } from './live.ts';
import { type RecheckContext, recheckSession } from './recheck.ts';
import type { Session } from './session.ts';
import { dropLost, standing } from './standing.ts';

export interface OpenContext extends RecheckContext {
  readonly trustDomain: string;
  /** Length of a lease, seconds. */
  readonly leaseSeconds: number;
  readonly mutex: KeyedMutex;
  /** Told of each session that has opened. */
  readonly onOpened?: (live: Live) => void;
}

export interface OpenRequest {
  readonly attestation: Attestation;
  /** `Losses.now` before the proof was looked at. */
  readonly asked: number;
  readonly jkt: string;
  /** Remembers the proof, so that it is taken once. */
  readonly replay: Entry['replay'];
  /** Whether whoever asks has hung up meanwhile. */
  readonly hungUp: () => boolean;
}

/** A Codespace runs 12 hours at most. */
const HARD_LIMIT_SECONDS = 12 * 3600;

/**
 * @returns the session and its token, which exists nowhere else
 * @throws MeshpassError `access_none`, `workspace_not_owned`, `proof_replayed`, `request_timeout`, `store_unavailable`, and what
 *   standing() throws
 */
export async function openSession(
  context: OpenContext,
  request: OpenRequest,
  draft: Draft,
  commit: Commit,
): Promise<{ readonly live: Live; readonly token: string }> {
  // One at a time for a workspace: of two arrivals the later replaces the earlier, in memory as in the store.
  return await runExclusive(context.mutex, request.attestation.workspace.key, async () => {
    // Its agent has lost patience, and may hold a session of a later request: one that nobody will hold must not replace that.
    if (request.hungUp())
      throw new MeshpassError('request_timeout', 'The client hung up before its session could open; none was opened.');
    const access = context.mesh.access();
    const token = `mps_${context.random(32).toString('base64url')}`;
    const { losses } = context;
    const { organization } = access.trust.codespaces ?? {};
    const attestation = standing(losses, request.attestation, request.asked, organization);
    const checked = losses.now();
    let session: Session;
    try {
      session = decide(context, { ...request, attestation }, token, draft);
    } catch (refused) {
      // One token is good for one decision, whichever it is: otherwise anybody's can be refused without end.
      if (request.replay) await context.journal.write({ replay: request.replay, audit: [] });
      throw refused;
    }
    const previous = context.live.byWorkspace(session.attestation.workspace.key);
    if (previous && !sameSubject(previous.session.attestation, session.attestation))
      throw new MeshpassError('workspace_not_owned', 'This workspace has a live session of somebody else.', {
        detail: { reason: `It belongs to session ${previous.session.id}.` },
      });

    const opened = { session: sessionRow(session), principals: principalRows(session) };
    const closing = previous
      ? closingEntry(context, previous, { cause: 'replaced', source: draft.source, requestId: draft.requestId })
      : undefined;
    await commit({
      opened,
      ...(request.replay ? { replay: request.replay } : {}),
      ...(closing ? { closed: closing.closed, also: closing.audit } : {}),
    });

    const live: Live = {
      session,
      leaseUntil: session.openedAt + context.leaseSeconds,
      awaitingHeartbeat: false,
      lastNotAfter: new Map(),
      signedUnder: new Map(),
      abort: new AbortController(),
    };
    if (previous && !previous.ended) {
      endInMemory(context, previous, 'replaced');
      announceEnd(context, previous);
    }
    context.live.add(live);
    context.feed.admit(session);
    // The access file may have changed while the store was writing, when this session was not yet in the index.
    if (context.mesh.access() !== access) await recheckSession(context, live);
    // As may what GitHub says: nobody could take it from a session that was not there yet.
    const isLost = (fact: Fact) => losses.since(fact, checked) && losses.isLost(fact, session.openedAt);
    await dropLost(context, live, isLost);
    context.onOpened?.(live);
    return { live, token };
  });
}

function decide(context: OpenContext, request: OpenRequest, token: string, draft: Draft): Session {
  const { attestation } = request;
  const now = seconds(context.clock);
  const decision = context.authorize(attestation, context.mesh.access(), now);
  if (decision.grants.length === 0)
    throw new MeshpassError('access_none', 'No grant of the access file applies to you; ask its owners.', {
      detail: { reason: decision.refusals.join('; ') },
    });
  if (decision.grants.length > MAX_GRANTS)
    throw new MeshpassError(
      'access_none',
      `${decision.grants.length} grants of the access file apply to you, and a session has ${MAX_GRANTS} at most; ask its owners for fewer.`,
      { detail: { reason: decision.grants.map(({ grant }) => grant.name).join(', ') } },
    );
  const id = context.random(12).toString('hex');
  const grants = decision.grants.map(({ grant, until = Number.POSITIVE_INFINITY }) => ({
    name: grant.name,
    until: Math.min(until, now + Math.min(grant.session, HARD_LIMIT_SECONDS)),
  }));
  const serviceAccount = serviceAccountName(attestation.login, id.slice(0, 12));
  draft.sessionId = id;
  draft.grant = grants.map((grant) => grant.name).join(',');
  draft.reason = decision.grants.map(({ grant, reason }) => `${grant.name}: ${reason}`).join('; ');
  return {
    id,
    tokenHash: sha256Hex(token),
    jkt: request.jkt,
    attestation,
    openedAt: now,
    expiresAt: Math.max(...grants.map((grant) => grant.until)),
    grants,
    principals: grants.map(({ name }) => {
      const namespace = grantNamespace(name);
      const spiffeId = formatSpiffe({ trustDomain: context.trustDomain, namespace, serviceAccount });
      return { grant: name, namespace, serviceAccount, spiffeId };
    }),
  };
}

function sameSubject(a: Attestation, b: Attestation): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}

function sessionRow(session: Session): Record<string, string | null> {
  const { attestation } = session;
  return {
    id: session.id,
    token_hash: session.tokenHash,
    jkt: session.jkt,
    attestor: attestation.attestor,
    issuer: storable(attestation.issuer),
    subject: storable(attestation.subject),
    login: storable(attestation.login),
    workspace_key: storable(attestation.workspace.key),
    workspace_name: storable(attestation.workspace.name),
    attestation: JSON.stringify(attestation),
    grants: JSON.stringify(session.grants),
    opened_at: timestamp(session.openedAt),
    expires_at: timestamp(session.expiresAt),
    closed_at: null,
    close_cause: null,
    graced_until: null,
  };
}

function principalRows(session: Session): Record<string, string | null>[] {
  return session.principals.map((principal) => ({
    session_id: session.id,
    grant_name: principal.grant,
    namespace: principal.namespace,
    service_account: principal.serviceAccount,
    spiffe_id: principal.spiffeId,
    last_not_after: null,
    revoked_at: null,
    revoke_cause: null,
  }));
}
