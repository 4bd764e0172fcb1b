/**
 * Adds grants to live sessions after a time window opened, a new access file, an approval or a sign-in. The store has
 * the gain with its audit row before any notification. Edges then admit it and notify the agent, which requests the
 * certificate with its own key. A grant that is regained after a loss has a new ServiceAccount, because the previous
 * one may still be denied.
 */
import { type Approved, type Grant, openUntil } from '@meshpass/access';
import { MAX_GRANTS, MeshpassError, serviceAccountName } from '@meshpass/identity';
import { type AuditEvent, createAuditEvent, type Outcome, recordGrant, refusedOutcome } from '../../audit/index.ts';
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
import type { WithPendingCuts, Write } from './settling.ts';
import { touch } from './touch.ts';

/** A gain that an approval or an emergency gives. */
export interface GainRequest {
  readonly cause: 'approved' | 'emergency';
  /** When the session loses the grant again, Unix seconds. The access file may set an earlier end. */
  readonly until: number;
  /** Text for the audit log. */
  readonly reason: string;
  /** Further details for the audit log. */
  readonly detail: Readonly<Record<string, unknown>>;
  /** Returns a decision to write with the gain, given the gain's final end in Unix seconds. */
  readonly decided: (until: number) => Write;
}

/**
 * Adds a grant to a live session, as if the approval that the access file requires had been given, or extends it. All
 * other conditions in the access file must be met at this moment.
 *
 * @param name name of the grant
 * @returns refusals, which are not recorded: `session_closed`, `access_none` with the reason, `kubernetes_unavailable`
 *   while no access file is in force, `store_unavailable`
 */
export function gain(
  context: SessionContext,
  live: Live,
  name: string,
  { cause, until: wanted, reason, detail, decided }: GainRequest,
): Promise<Outcome<void>> {
  const event = { ...gainEvent(context, live.session), grant: name, reason, detail };
  return context.settling
    .inTurn(workspaceKey(live), async (together) => {
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
      return await widenSession(context, live, gains, { cause, until: wanted, event, together }, decided(until));
    })
    .catch((thrown: unknown) => refusedOutcome(event, thrown));
}

/**
 * Adds all grants that the access file now includes for a live session, and extends grants that it now includes for
 * longer.
 * @param cause cause of the gains; if undefined, inferred for each grant
 * @returns whether the session gained anything
 * @throws MeshpassError `store_unavailable`, `overloaded`; nothing has changed then
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
    // Decided again for each cause, because the session may have lost grants during the last write.
    const gains = gainsOf(context, live.session, wanted).filter((one) => !done.has(one.cause));
    const cause = gains[0]?.cause;
    if (cause === undefined) return done.size > 0;
    done.add(cause);
    const event = gainEvent(context, live.session);
    const ofCause = gains.filter((one) => one.cause === cause);
    const outcome = await widenSession(context, live, ofCause, { cause, event, together });
    if (!outcome.granted) throw outcome.error;
  }
}

/** Lists grants that the access file includes for a session and the session lacks, or has for a shorter time. */
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
      // A gain with its own limit ends at that limit, whatever the access file allows.
      const isMore = before ? before.gained?.until === undefined && until > before.until : until > now;
      const cause = wanted ?? findCause(grants.get(grant) ?? {}, session.openedAt, now);
      return isMore ? [{ grant, until, reason, cause }] : [];
    },
  );
  let room = MAX_GRANTS - held.size;
  return gains.filter(({ grant }) => held.has(grant) || room-- > 0);
}

/** A workspace's turn to write. */
interface Turn {
  /** The decision, which becomes one row. */
  readonly event: AuditEvent;
  /** Adds the cuts that are not stored yet (settling.ts). */
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
 * Adds grants to a live session, or extends them, without further decisions.
 * @returns once the gain is stored and edges are notified. A concurrent end or loss remains in effect.
 */
async function widenSession(
  context: SessionContext,
  live: Live,
  gains: readonly Gain[],
  request: Turn & { readonly cause: GainCause; readonly until?: number },
  decision?: Write,
): Promise<Outcome<void>> {
  const { cause, until: ownLimit } = request;
  const gained: GrantGain = { cause, at: toUnixSeconds(context.clock), until: ownLimit };
  const { session } = live;
  const held = new Map(session.principals.map((one) => [one.grant, one]));
  const fresh = gains.filter(({ grant }) => !held.has(grant));
  if (held.size + fresh.length > MAX_GRANTS)
    return refusedOutcome(request.event, notGiven(fresh[0]!.grant, `a session can have at most ${MAX_GRANTS} grants`));
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
      // Changes during the write could not affect the new grants.
      touch(context, live).catch(context.onFailure);
    },
  });
  return await recordGrant(context.audit, event, changes, written);
}

/**
 * Returns what the session may have now. A gain must not be based on facts whose loss some of GitHub's servers may not
 * report yet.
 * @throws MeshpassError `kubernetes_unavailable` while no access file is in force
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

/** Returns the reason why an entitlement lacks a grant; undefined if the access file has no such grant. */
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

// Infers why a session gains a grant, so that a broker that takes over infers the same.

/**
 * Returns `window_opened` if the grant's window was closed at any time since the session opened, because otherwise the
 * session would have had the grant from the start. In all other cases the current access file grants more than the one
 * that was in force at the opening.
 * @param grant current definition
 * @param openedAt opening time of the session, Unix seconds
 * @param now Unix seconds
 */
function findCause({ during }: Pick<Grant, 'during'>, openedAt: number, now: number): GainCause {
  if (!during) return 'access_widened';
  const closed = openUntil(during, openedAt);
  return closed === undefined || closed <= now ? 'window_opened' : 'access_widened';
}
