/**
 * Adds grants to live sessions when a time window opens, or after a new access file, an approval or a sign-in. The gain
 * is stored with its audit row before anyone is notified. Edges then admit the grant and notify the agent, which
 * requests a certificate for a key of its own. A grant that is regained after a loss gets a new ServiceAccount, because
 * the previous one may still be denied.
 */
import { type Approved, type Grant, openUntil } from '@meshpass/access';
import { MAX_GRANTS, MeshpassError, serviceAccountName } from '@meshpass/identity';
import { type AuditEvent, createAuditEvent, recordAllowed } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { ADD_PRINCIPALS, SET_LIMITS } from '../statements.ts';
import type { SessionContext } from './context.ts';
import { computeEntitlement, type Entitlement, noEntitlement } from './entitlement.ts';
import { settledAttestation } from './known-losses.ts';
import { replacePrincipals, workspaceKey } from './lifecycle.ts';
import { type Live, sessionClosedError, sessionMembers } from './live.ts';
import { limitRows, principalRow } from './rows.ts';
import {
  approvalExpiries,
  type GainCause,
  type GrantGain,
  principalOf,
  principalUnder,
  type Session,
} from './session.ts';
import { touch } from './touch.ts';
import type { WithPendingCuts, Write } from './write-queue.ts';

/** A request to add a grant because of an approval or an emergency. */
export interface GainRequest {
  readonly cause: 'approved' | 'emergency';
  /** When the session loses the grant again, Unix seconds. The access file may impose an earlier end. */
  readonly until: number;
  /** Reason, as text for the audit log. */
  readonly reason: string;
  /** Further details for the audit log. */
  readonly detail: Readonly<Record<string, unknown>>;
  /** Returns the decision to store together with the gain. `until` is when the grant actually ends, Unix seconds. */
  readonly decided: (until: number) => Write;
}

/**
 * Adds or extends a grant of a live session, treating the approval that the access file requires as given. All other
 * conditions in the access file must currently be met.
 *
 * @param name name of the grant
 * @throws MeshpassError `session_closed`, `access_none` (and the reason), `kubernetes_unavailable` (if no access file is
 *   in force), `store_unavailable`. The refusal is not recorded.
 */
export function gain(
  context: SessionContext,
  live: Live,
  name: string,
  { cause, until: wanted, reason, detail, decided }: GainRequest,
): Promise<void> {
  const event = { ...gainEvent(context, live.session), grant: name, reason, detail };
  return context.settling.inTurn(workspaceKey(live), async (together) => {
    if (live.ended) throw sessionClosedError(live.ended.cause);
    const now = toUnixSeconds(context.clock);
    if (wanted <= now) throw notGiven(name, 'it has expired');
    const approved = new Map([...approvalExpiries(live.session), [name, wanted]]);
    const may = decide(context, live.session, approved);
    const found = may.grants.get(name);
    if (!found) throw notGiven(name, may.denied ?? refusalOf(may, name));
    const until = Math.min(found.until, wanted);
    if (until <= now) throw notGiven(name, 'it has expired');
    const held = principalUnder(live.session, name)?.until ?? 0;
    const gains = [{ grant: name, until: Math.max(until, held), reason: found.reason }];
    await widenSession(context, live, gains, { cause, until: wanted, event, together }, decided(until));
  });
}

/**
 * Adds all grants that a live session is now entitled to, and extends grants that it is now entitled to for longer.
 * @param cause cause of the gains. By default, it is inferred for each grant.
 * @returns whether the session gained anything
 * @throws MeshpassError `store_unavailable`, `overloaded`; a gain that was not stored has no effect
 */
export function addEntitledGrants(context: SessionContext, live: Live, cause?: GainCause): Promise<boolean> {
  return context.settling.inTurn(workspaceKey(live), (together) => gainAll(context, live, cause, together));
}

async function gainAll(
  context: SessionContext,
  live: Live,
  wanted: GainCause | undefined,
  together: WithPendingCuts,
): Promise<boolean> {
  const done = new Set<GainCause>();
  for (;;) {
    if (live.ended || !context.mesh.inForce()) return done.size > 0;
    // Decide again for each cause, because the session may have lost grants during the previous write.
    const gains = gainsOf(context, live.session, wanted).filter((one) => !done.has(one.cause));
    const cause = gains[0]?.cause;
    if (cause === undefined) return done.size > 0;
    done.add(cause);
    const event = gainEvent(context, live.session);
    const ofCause = gains.filter((one) => one.cause === cause);
    await widenSession(context, live, ofCause, { cause, event, together });
  }
}

/** Lists the grants that a session is entitled to but does not have yet, or has only for a shorter time. */
function gainsOf(
  context: SessionContext,
  session: Session,
  wanted: GainCause | undefined,
): readonly (Gain & { readonly cause: GainCause })[] {
  const now = toUnixSeconds(context.clock);
  const held = new Map(session.principals.map((one) => [one.grant, one]));
  const grants = new Map(context.mesh.access().grants.map((one) => [one.name, one]));
  const gains = [...decide(context, session, approvalExpiries(session)).grants].flatMap(
    ([grant, { until, reason }]) => {
      const before = held.get(grant);
      // A grant that was gained with its own limit ends at that limit, even if the access file allows more.
      const isMore = before ? before.gained?.until === undefined && until > before.until : until > now;
      const cause = wanted ?? findCause(grants.get(grant) ?? {}, session.openedAt, now);
      return isMore ? [{ grant, until, reason, cause }] : [];
    },
  );
  let room = MAX_GRANTS - held.size;
  return gains.filter(({ grant }) => held.has(grant) || room-- > 0);
}

/** A write in the workspace's turn. */
interface Turn {
  /** Audit event of the decision. */
  readonly event: AuditEvent;
  /** Adds the workspace's pending cuts to a write (write-queue.ts). */
  readonly together: WithPendingCuts;
}

/** A grant to add or extend. */
interface Gain {
  readonly grant: string;
  /** Unix seconds. */
  readonly until: number;
  readonly reason: string;
}

/**
 * Adds or extends grants of a live session without checking whether it is entitled to them. If the session ends or
 * loses grants during the write, that remains in effect.
 * @returns after the gain was stored and edges were notified
 */
async function widenSession(
  context: SessionContext,
  live: Live,
  gains: readonly Gain[],
  request: Turn & { readonly cause: GainCause; readonly until?: number },
  decision?: Write,
): Promise<void> {
  const { cause, until: ownLimit } = request;
  const gained: GrantGain = { cause, at: toUnixSeconds(context.clock), until: ownLimit };
  const { session } = live;
  const held = new Map(session.principals.map((one) => [one.grant, one]));
  const fresh = gains.filter(({ grant }) => !held.has(grant));
  if (held.size + fresh.length > MAX_GRANTS)
    throw notGiven(fresh[0]!.grant, `a session can have at most ${MAX_GRANTS} grants`);
  const serviceAccount = serviceAccountName(
    session.attestation.login,
    `${session.id.slice(0, 12)}-${context.random(4).toString('hex')}`,
  );
  const added = fresh.map(({ grant, until }) =>
    principalOf({ grant, until, gained }, serviceAccount, context.trustDomain),
  );
  const prolonged = gains.flatMap(({ grant, until }) => {
    const one = held.get(grant);
    return one && until > one.until ? [{ ...one, until, ...(ownLimit !== undefined && { gained }) }] : [];
  });
  const event = {
    ...request.event,
    grant: gains.map(({ grant }) => grant).join(','),
    target: added.map(({ spiffeId }) => spiffeId).join(','),
    reason: request.event.reason ?? gains.map(({ grant, reason }) => `${grant}: ${reason}`).join('; '),
    detail: {
      cause,
      until: Object.fromEntries(gains.map(({ grant, until }) => [grant, until])),
      ...request.event.detail,
    },
  };
  const { changes, written } = request.together({
    changes: (tx) => {
      decision?.changes(tx);
      tx.write(ADD_PRINCIPALS, ...added.map((principal) => principalRow(session.id, principal)));
      tx.write(SET_LIMITS, ...limitRows(session, prolonged));
    },
    written: () => {
      decision?.written();
      if (live.ended) return;
      // The session may have lost grants during the write.
      const longer = new Map(prolonged.map((one) => [one.spiffeId, one]));
      const kept = live.session.principals.map((one) => longer.get(one.spiffeId) ?? one);
      replacePrincipals(context, live, [...kept, ...added]);
      for (const _ of added) context.onGained(live, cause);
      // The new grants were not in memory when changes were applied during the write, so apply them now.
      touch(context, live).catch(context.onFailure);
    },
  });
  await recordAllowed(context.audit, event, changes, written);
}

/**
 * Computes the session's current entitlement. Facts that may already be lost are ignored, even if some of GitHub's
 * servers still report them.
 * @throws MeshpassError `kubernetes_unavailable` if no access file is in force
 */
function decide({ authorize, mesh, losses, clock }: SessionContext, session: Session, approved: Approved): Entitlement {
  const access = mesh.access();
  const attestation = settledAttestation(losses, session, access.trust.codespaces?.organization);
  if (!attestation) return noEntitlement('GitHub has just reported a change to this workspace or its developer');
  return computeEntitlement(
    authorize,
    { attestation, openedAt: session.openedAt },
    access,
    toUnixSeconds(clock),
    approved,
  );
}

/** Returns why an entitlement does not include a grant, or undefined if the access file does not define the grant. */
function refusalOf({ refusals }: Entitlement, name: string): string | undefined {
  const prefix = `grant ${name}: `;
  return refusals.find((one) => one.startsWith(prefix))?.slice(prefix.length);
}

function gainEvent({ clock, random }: SessionContext, session: Session): AuditEvent {
  return { ...createAuditEvent('session.widen', {}, clock, random), ...sessionMembers(session) };
}

function notGiven(grant: string, why = 'the access file has no such grant'): MeshpassError {
  return new MeshpassError('access_none', `The session cannot get the grant ${grant}.`, { detail: { reason: why } });
}

// The cause of a gain is inferred, so that a broker that takes over infers the same cause.

/**
 * Infers why a session gains a grant. Returns `window_opened` if the grant's time window has been closed at any time
 * since the session opened, because otherwise the session would have had the grant from the start. In all other cases,
 * the current access file must grant more than the file that was in force when the session opened.
 * @param grant current definition of the grant
 * @param openedAt when the session opened, Unix seconds
 * @param now Unix seconds
 */
function findCause({ during }: Pick<Grant, 'during'>, openedAt: number, now: number): GainCause {
  if (!during) return 'access_widened';
  const closed = openUntil(during, openedAt);
  return closed === undefined || closed <= now ? 'window_opened' : 'access_widened';
}
