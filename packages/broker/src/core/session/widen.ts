/**
 * Adds grants to live sessions when a time window opens, when the access file changes, when a grant is approved or when
 * the developer signs in. The gain is stored together with its audit row before anyone is notified. The edges then
 * admit the grant and notify the agent, which requests a certificate for its own key. If a grant is lost and later
 * regained, it gets a new ServiceAccount, because the previous one may still be denied.
 */
import { type Approved, type Grant, openUntil } from '@meshpass/access';
import { MeshpassError, serviceAccountName } from '@meshpass/identity';
import { MAX_GRANTS } from '@meshpass/identity/wire';
import { type AuditEvent, createAuditEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { ADD_PRINCIPALS, SET_LIMITS } from '../session-sql.ts';
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
import type { StoreWrite, Write } from './write-queue.ts';

/** A request to add a grant because it was approved or because of an emergency. */
export interface GainRequest {
  readonly cause: 'approved' | 'emergency';
  /** When the session loses the grant again, in Unix seconds. The access file may set an earlier end. */
  readonly until: number;
  /** The reason for the gain, as it appears in the audit log. */
  readonly reason: string;
  /** Additional details for the audit log. */
  readonly detail: Readonly<Record<string, unknown>>;
  /** Returns the decision to store together with the gain. `until` is when the grant actually ends, in Unix seconds. */
  readonly decided: (until: number) => Write;
}

/**
 * Adds a grant to a live session, or extends it, as if the approval that the access file requires had been given. All
 * other conditions in the access file must currently be met.
 *
 * @param name the name of the grant
 * @throws MeshpassError `session_closed`, `access_none` (and the reason), `kubernetes_unavailable` (if no access file
 *   is in effect), `store_unavailable`, `overloaded`. The caller is responsible for auditing the refusal.
 */
export function gain(
  context: SessionContext,
  live: Live,
  name: string,
  { cause, until: wanted, reason, detail, decided }: GainRequest,
): Promise<void> {
  const event = { ...gainEvent(context, live.session), grant: name, reason, detail };
  return context.writes.inTurn(workspaceKey(live), async (store) => {
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
    const decision = decided(until);
    await widenSession(context, live, gains, { cause, until: wanted, event, store, decision });
  });
}

/**
 * Adds all grants that a live session has become entitled to, and extends grants that it may now keep for longer.
 * @param cause the cause of the gains. By default, it is inferred for each grant.
 * @returns whether the session gained anything
 * @throws MeshpassError `store_unavailable`, `overloaded`. A gain that could not be stored has no effect.
 */
export function addEntitledGrants(context: SessionContext, live: Live, cause?: GainCause): Promise<boolean> {
  return context.writes.inTurn(workspaceKey(live), async (store) => {
    const done = new Set<GainCause>();
    while (!live.ended && context.mesh.inForce()) {
      // Decide again for each cause, because the session may have lost grants during the previous write.
      const gains = gainsOf(context, live.session, cause).filter((one) => !done.has(one.cause));
      const next = gains[0]?.cause;
      if (next === undefined) break;
      done.add(next);
      const event = gainEvent(context, live.session);
      const ofCause = gains.filter((one) => one.cause === next);
      await widenSession(context, live, ofCause, { cause: next, event, store });
    }
    return done.size > 0;
  });
}

/** Returns the grants that a session is entitled to but does not have yet, or that it could keep for longer. */
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
      // A grant that was gained with its own time limit ends at that limit, even if the access file allows more time.
      const isMore = before ? before.gained?.until === undefined && until > before.until : until > now;
      const cause = wanted ?? findCause(grants.get(grant) ?? {}, session.openedAt, now);
      return isMore ? [{ grant, until, reason, cause }] : [];
    },
  );
  let room = MAX_GRANTS - held.size;
  return gains.filter(({ grant }) => held.has(grant) || room-- > 0);
}

/** A grant to add or extend. */
interface Gain {
  readonly grant: string;
  /** When the grant ends, in Unix seconds. */
  readonly until: number;
  readonly reason: string;
}

/**
 * Adds or extends grants of a live session without checking whether it is entitled to them. If the session ends or
 * loses grants while the write is in progress, those changes remain in effect.
 * @returns a promise that resolves once the gain has been stored and the edges have been notified
 */
async function widenSession(
  context: SessionContext,
  live: Live,
  gains: readonly Gain[],
  request: {
    readonly cause: GainCause;
    readonly until?: number;
    readonly event: AuditEvent;
    readonly store: StoreWrite;
    readonly decision?: Write;
  },
): Promise<void> {
  const { cause, until: ownLimit, decision } = request;
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
    principalOf({ grant, until, gained }, serviceAccount, context.config.trustDomain),
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
  const widening: Write = {
    changes: (tx) => {
      decision?.changes(tx);
      tx.write(ADD_PRINCIPALS, ...added.map((principal) => principalRow(session.id, principal)));
      tx.write(SET_LIMITS, ...limitRows(session, prolonged));
    },
    written: () => {
      decision?.written();
      if (live.ended) return;
      // The session may have lost grants while the gain was being written.
      const longer = new Map(prolonged.map((one) => [one.spiffeId, one]));
      const kept = live.session.principals.map((one) => longer.get(one.spiffeId) ?? one);
      replacePrincipals(context, live, [...kept, ...added]);
      for (const _ of added) context.metrics.gained(cause);
      // Request the configuration early, so that istiod has responded by the time the agent needs it.
      context.control.announced(live.session);
      // Changes that arrived during the write were not applied to the new grants, which were not in memory yet. Apply
      // them now.
      touch(context, live).catch(context.onFailure);
    },
  };
  await request.store(widening, event);
}

/**
 * Computes what the session is currently entitled to. Facts that may already be lost are ignored, even if some of
 * GitHub's servers still report them.
 * @throws MeshpassError `kubernetes_unavailable` if no access file is in effect
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

/**
 * Returns the reason why an entitlement does not include a grant, or undefined if the access file does not define that
 * grant.
 */
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

// The cause of a gain is inferred rather than remembered, so that a broker that takes over arrives at the same cause.

/**
 * Infers why a session gains a grant. If the grant's time window was closed at some point since the session opened, the
 * cause is `window_opened`. Otherwise, the session would have had the grant from the start, so the current access file
 * must grant more than the one that was in effect when the session opened.
 * @param grant the current definition of the grant
 * @param openedAt when the session opened, in Unix seconds
 * @param now the current time, in Unix seconds
 */
function findCause({ during }: Pick<Grant, 'during'>, openedAt: number, now: number): GainCause {
  if (!during) return 'access_widened';
  const closed = openUntil(during, openedAt);
  return closed === undefined || closed <= now ? 'window_opened' : 'access_widened';
}
