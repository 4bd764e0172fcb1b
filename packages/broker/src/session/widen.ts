/**
 * A live session gains grants: its time window opens, the access file gives more, somebody approves it, or its developer signs in. The
 * store has it, with its audit row, before anybody is told. Then edges admit it, and tell the agent, which asks for the certificate with
 * a key of its own. A grant that is gained again after it was lost has another ServiceAccount: the one before may still be denied.
 */
import type { Approved, Grant } from '@meshpass/access';
import { MAX_GRANTS, MeshpassError, serviceAccountName } from '@meshpass/identity';
import { type AuditContext, type Changes, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import { type AuditEvent, newEvent, type Origin } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import { type KeyedMutex, runExclusive } from '../limits/keyed-mutex.ts';
import { settledAttestation } from './drop-lost.ts';
import { findCause } from './gain/find-cause.ts';
import { assertConfirmed, takeBack } from './gain/unconfirmed.ts';
import { sessionMembers } from './lifecycle.ts';
import { type Live, sessionClosed } from './live.ts';
import { type RecheckContext, recheckSession } from './recheck.ts';
import { narrowedRow, principalRow } from './rows.ts';
import {
  approvedIn,
  type GainCause,
  type Gained,
  HARD_LIMIT_SECONDS,
  type HeldGrant,
  principalOf,
  type Session,
  STANDS_FOR_APPROVAL,
} from './session.ts';
import { trustLost } from './trust.ts';

export interface WidenContext extends RecheckContext {
  readonly audit: AuditContext;
  readonly trustDomain: string;
  /** Called with each grant that a session gained, once the store has it. */
  readonly onGained: (live: Live, cause: GainCause) => void;
  /** One gain at a time for a session. */
  readonly widening: KeyedMutex;
}

export interface GainRequest extends Origin {
  readonly cause: GainCause;
  /** Unix seconds at which the session loses it again; absent: when the access file says. Never later than that. */
  readonly until?: number | undefined;
  /** Why, in words, for the audit log. */
  readonly reason?: string | undefined;
  /** What else an auditor wants to know. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
  /** What is written with it, once it is known until when the session has it: what the access file says may be earlier than `until`. */
  readonly decided?: ((until: number) => Decided) | undefined;
}

export interface Decided {
  /** Written in the same transaction. */
  readonly changes: Changes;
  /** Written where the store did not confirm those, and they may be there all the same. */
  readonly undo: Changes;
}

/**
 * Gives a live session one grant, for a cause that lies outside of the access file: an approval, a sign-in. Everything else that the
 * access file demands for it must hold at this moment. Of the causes `approved` and `emergency` an approval that the grant demands counts
 * as given.
 *
 * @param name of the grant
 * @returns what the session holds, also where it held it for as long already, and then nothing is written. Refused with
 *   `session_closed`, `access_none` with the reason, `kubernetes_unavailable` while no access file is in force, `store_unavailable`; no
 *   row is written of a refusal
 */
export function gain(
  context: WidenContext,
  live: Live,
  name: string,
  request: GainRequest,
): Promise<Outcome<HeldGrant>> {
  return runExclusive(context.widening, live.session.id, () => gainOne(context, live, name, request));
}

/** The same, of the session with this id. @returns refused with `session_unknown`, too */
export async function gainById(
  context: WidenContext,
  sessionId: string,
  name: string,
  request: GainRequest,
): Promise<Outcome<HeldGrant>> {
  const live = context.live.byId(sessionId);
  if (live) return await gain(context, live, name, request);
  const over = context.live.endedById(sessionId);
  const event = { ...newEvent('session.widen', request, context.clock, context.random), sessionId, grant: name };
  const unknown = new MeshpassError('session_unknown', 'The session is unknown; open a new one.');
  return refused(event, over ? sessionClosed(over.cause) : unknown);
}

async function gainOne(
  context: WidenContext,
  live: Live,
  name: string,
  request: GainRequest,
): Promise<Outcome<HeldGrant>> {
  const { cause, reason, detail } = request;
  const event = { ...gainEvent(context, live.session, request), grant: name, reason, detail };
  try {
    assertLive(live);
    assertConfirmed(live);
    if (request.until !== undefined && request.until <= seconds(context.clock))
      throw notGiven(name, 'its time is over');
    const approved = new Map(approvedIn(live.session));
    if (STANDS_FOR_APPROVAL.has(cause)) approved.set(name, request.until ?? Number.POSITIVE_INFINITY);
    const decided = decide(context, live.session, approved);
    const found = decided.grants.get(name);
    if (!found) throw notGiven(name, decided.refusals.get(name));
    const until = Math.min(found.until, request.until ?? Number.POSITIVE_INFINITY);
    if (until <= seconds(context.clock)) throw notGiven(name, 'its time is over');
    const held = live.session.grants.find((one) => one.name === name);
    if (held && held.until >= until && !request.decided) return granted(event, held);
    const gains = [{ name, until: Math.max(until, held?.until ?? 0), reason: found.reason }];
    const written = await widenSession(context, live, gains, { ...request, ...request.decided?.(until), event });
    if (!written.granted) return written;
    assertLive(live);
    const has = live.session.grants.find((one) => one.name === name);
    if (!has) throw notGiven(name, 'it was taken away again at once');
    return granted(written.event, has);
  } catch (thrown) {
    return refused(event, thrown);
  }
}

/**
 * Gives a live session all that the access file gives it now, and did not when it opened; and longer, where the file gives that.
 * @param cause undefined: it is found out for each grant
 * @returns whether it gained anything
 * @throws MeshpassError `store_unavailable`, `overloaded`; nothing has changed then
 */
export function gainWhatIsGiven(context: WidenContext, live: Live, cause: GainCause | undefined): Promise<boolean> {
  return runExclusive(context.widening, live.session.id, () => gainAll(context, live, cause));
}

async function gainAll(context: WidenContext, live: Live, cause: GainCause | undefined): Promise<boolean> {
  if (live.ended || !context.mesh.inForce()) return false;
  assertConfirmed(live);
  const { session } = live;
  const now = seconds(context.clock);
  const held = new Map(session.grants.map((one) => [one.name, one]));
  const given = [...decide(context, session, approvedIn(session)).grants];
  const gains = given.flatMap(([name, { until, reason }]) => {
    const before = held.get(name);
    // What was given for a time of its own ends then, whatever the access file says.
    const isMore = before ? before.gained?.until === undefined && until > before.until : until > now;
    return isMore ? [{ name, until, reason }] : [];
  });
  let room = MAX_GRANTS - held.size;
  const fits = gains.filter(({ name }) => held.has(name) || room-- > 0);
  if (fits.length === 0) return false;
  const grants = new Map(context.mesh.access().grants.map((grant) => [grant.name, grant]));
  const causeOf = ({ name }: Gain) => cause ?? findCause(grants.get(name) ?? {}, session.openedAt, now);
  for (const one of new Set(fits.map(causeOf))) {
    const gainsBy = fits.filter((gained) => causeOf(gained) === one);
    const outcome = await widenSession(context, live, gainsBy, { cause: one, event: gainEvent(context, session, {}) });
    if (!outcome.granted) throw outcome.error;
  }
  return true;
}

function assertLive(live: Live): void {
  if (live.ended) throw sessionClosed(live.ended.cause);
}

interface Gain {
  readonly name: string;
  /** Unix seconds. */
  readonly until: number;
  readonly reason: string;
}

/**
 * Adds grants to a live session, or prolongs them. Nothing is decided here.
 * @param request `event`: the decision, of which one row is written
 * @returns once the store has it and edges are told; where the session ended or lost something meanwhile, it stays so
 */
async function widenSession(
  context: WidenContext,
  live: Live,
  gains: readonly Gain[],
  request: Pick<GainRequest, 'cause' | 'until' | 'reason' | 'detail'> &
    Partial<Decided> & { readonly event: AuditEvent },
): Promise<Outcome<void>> {
  const { cause, changes = {} } = request;
  const gained: Gained = { cause, at: seconds(context.clock), until: request.until };
  const { session } = live;
  const isNew = (name: string) => !session.grants.some((one) => one.name === name);
  const fresh = gains.filter(({ name }) => isNew(name));
  if (session.grants.length + fresh.length > MAX_GRANTS)
    return refused(request.event, notGiven(fresh[0]!.name, `a session can have at most ${MAX_GRANTS} grants`));
  const serviceAccount = serviceAccountName(
    session.attestation.login,
    `${session.id.slice(0, 12)}-${context.random(4).toString('hex')}`,
  );
  const principals = fresh.map(({ name }) => principalOf(name, serviceAccount, context.trustDomain));
  const widened = (base: Session): Session => {
    const prolonged = new Map(gains.map((one) => [one.name, one.until]));
    const kept = base.grants.map((one) => {
      const until = Math.max(one.until, prolonged.get(one.name) ?? 0);
      if (isNew(one.name) || until === one.until) return one;
      return request.until === undefined ? { ...one, until } : { ...one, until, gained };
    });
    const added = fresh.map(({ name, until }): HeldGrant => ({ name, until, gained }));
    const grants = [...kept, ...added];
    const expiresAt = Math.max(...grants.map(({ until }) => until));
    return { ...base, grants, principals: [...base.principals, ...principals], expiresAt };
  };
  const entry = (base: Session): Changes => {
    return {
      narrowed: narrowedRow(widened(base)),
      gained: principals.map((principal) => principalRow(base.id, principal)),
    };
  };
  const access = context.mesh.access();
  const names = gains.map(({ name }) => name);
  const event = {
    ...request.event,
    grant: names.join(','),
    target: principals.map(({ spiffeId }) => spiffeId).join(','),
    reason: request.reason ?? gains.map(({ name, reason }) => `${name}: ${reason}`).join('; '),
    detail: { cause, until: Object.fromEntries(gains.map(({ name, until }) => [name, until])), ...request.detail },
  };
  let base = session;
  const written = await recordGrant(context.audit, event, { ...changes, ...entry(base) });
  if (!written.granted) {
    // An error may be of the answer alone; what was not taken in or was refused is not there.
    if (written.error.code === 'store_unavailable') takeBack(context, live, names, principals, request.undo);
    return written;
  }
  // What it lost while the store was writing was computed without what it gains.
  while (!live.ended && live.session !== base) {
    base = live.session;
    try {
      await context.journal.write({ ...entry(base), audit: [] });
    } catch (thrown) {
      takeBack(context, live, names, principals);
      throw thrown;
    }
  }
  if (live.ended) return written;
  live.session = widened(base);
  // Its identity token names the grants.
  delete live.identityToken;
  context.feed.admit(live.session);
  live.waiting?.look();
  for (const _ of fresh) context.onGained(live, cause);
  if (base !== session || context.mesh.access() !== access) await recheckSession(context, live);
  return written;
}

interface Given {
  readonly grants: ReadonlyMap<string, { readonly until: number; readonly reason: string }>;
  readonly refusals: ReadonlyMap<string, string>;
}

/** @throws MeshpassError `kubernetes_unavailable` */
function decide(context: WidenContext, session: Session, approved: Approved): Given {
  const { authorize, mesh, losses, clock } = context;
  const access = mesh.access();
  const nothing = (why: string) => ({
    grants: new Map(),
    refusals: new Map(access.grants.map(({ name }) => [name, why])),
  });
  const untrusted = trustLost(session.attestation, access.trust);
  if (untrusted !== undefined) return nothing(untrusted);
  const attestation = settledAttestation(losses, session, access.trust.codespaces?.organization);
  if (!attestation) return nothing('GitHub has just reported a change of this workspace or its developer');
  const decision = authorize(attestation, access, seconds(clock), approved);
  const prefix = (name: string) => `grant ${name}: `;
  return {
    grants: new Map(
      decision.grants.map(({ grant, until, reason }) => [grant.name, { until: endOf(session, grant, until), reason }]),
    ),
    refusals: new Map(
      access.grants.flatMap(({ name }) => {
        const found = decision.refusals.find((one) => one.startsWith(prefix(name)));
        return found === undefined ? [] : [[name, found.slice(prefix(name).length)] as const];
      }),
    ),
  };
}

/** Counted from when the session opened: `session` says how old the proof behind a grant may be. */
function endOf({ openedAt }: Session, { session: limit }: Grant, windowCloses = Number.POSITIVE_INFINITY): number {
  return Math.min(windowCloses, openedAt + Math.min(limit, HARD_LIMIT_SECONDS));
}

function gainEvent({ clock, random }: WidenContext, session: Session, origin: Origin): AuditEvent {
  return { ...newEvent('session.widen', origin, clock, random), ...sessionMembers(session) };
}

function notGiven(grant: string, why = 'the access file has no such grant'): MeshpassError {
  return new MeshpassError('access_none', `The session does not get the grant ${grant}.`, { detail: { reason: why } });
}
