/** Somebody answers a request: whether they may, and what follows. */
import { isDeepStrictEqual } from 'node:util';
import { type Access, type Approval, approverEntry } from '@meshpass/access';
import { type Attestation, MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { AnswerOrder } from '@meshpass/identity/approval';
import { type Outcome, type Refused, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import type { Live } from '../session/live.ts';
import { askedOf, withFreshMemberships } from './memberships.ts';
import type { Approver, Parts } from './parts.ts';
import { comparePeople, type Identity, identitiesOf, peopleOf, refuseOwn } from './people.ts';
import { notOffered, offered, unknown } from './refusals.ts';
import { type Answer, boundedSeconds, type Request } from './request.ts';
import { isUsed } from './rows.ts';

/**
 * Writes an answer, and what it makes of the request. One at a time for a request.
 * @returns refused with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`, `approval_answered`,
 *   `approval_not_offered`, `issuer_unavailable`, `store_unavailable`
 */
export async function answer(
  parts: Parts,
  approver: Approver,
  order: AnswerOrder,
  asked: AuditEvent,
): Promise<Outcome<Request>> {
  const how = { decision: order.decision, via: approver.via };
  let event: AuditEvent = { ...asked, target: order.id, detail: { ...asked.detail, ...how } };
  try {
    const { request, live } = pending(parts, order.id);
    event = { ...event, grant: request.grant, detail: { ...event.detail, ...requester(request) } };
    const identities = identitiesOf(approver.attestation);
    refuseOwn(identitiesNow(parts, request), identities, parts.mesh.access().trust);
    const { approval, attestation, entry, earlier } = await whoApproves(parts, request, live, approver, order);
    const people = peopleOf(parts.live, parts.mesh.access().trust);
    for (const one of earlier) refuseTwice(one, people(one.identities), identities);
    const given = { decision: order.decision, via: approver.via, entry, identities, attestation, event: event.id };
    const next = answered({ ...request, answers: earlier }, approval.count, {
      ...given,
      ...{ issuer: attestation.issuer, subject: attestation.subject, login: attestation.login },
      ...{ seconds: boundedSeconds(approval, order.seconds ?? request.seconds), reason: order.reason },
      at: seconds(parts.clock),
    });
    const lost = request.answers.filter((one) => !earlier.includes(one)).map(({ login, event }) => ({ login, event }));
    const detail = { ...event.detail, entry, state: next.state, ...(lost.length > 0 && { lost }) };
    const decided = { ...event, reason: order.reason ?? '', detail };
    const { until: wanted } = next;
    if (wanted === undefined) return await parts.book.decide(decided, next, approver.replay);
    const gift = {
      ...{ cause: 'approved' as const, until: wanted },
      ...{ reason: `approved by ${next.answers.map(({ login }) => login).join(' and ')}` },
      detail: { request: next.id, decision: event.id },
    };
    return await parts.book.decideWith(
      decided,
      // The grant's `session` or its time window may end earlier.
      (until) => ({ event: { ...decided, detail: { ...detail, until } }, request: { ...next, until } }),
      (decide) => parts.give(live, next.grant, { ...gift, decided: decide }),
      approver.replay,
    );
  } catch (thrown) {
    return (await keepReplay(parts, approver, event, thrown)) ?? refused(event, thrown);
  }
}

/**
 * One message is good for one decision, whichever it is, so also for a refusal. What GitHub did not say is none: it may be sent again.
 * @returns refused where the store does not have it
 */
export async function keepReplay(
  { audit }: Parts,
  { replay }: Approver,
  event: AuditEvent,
  thrown: unknown,
): Promise<Refused | undefined> {
  if (!replay || UNDECIDED.has(toMeshpassError(thrown).code)) return undefined;
  try {
    await audit.journal.write({ replay, audit: [] });
    return undefined;
  } catch (cause) {
    return refused(event, cause);
  }
}

/**
 * For what is taken before the decision is written: the store would refuse a repeated message with the decision, when the grant is gone.
 * @throws MeshpassError `proof_replayed`
 */
export async function refuseReplayed({ store }: Parts, { replay }: Approver): Promise<void> {
  if (replay && (await isUsed(store, replay.key)))
    throw new MeshpassError('proof_replayed', 'This message has been used before; send a new one.');
}

const UNDECIDED: ReadonlySet<string> = new Set(['issuer_unavailable', 'issuer_rate_limited', 'kubernetes_unavailable']);

/** An access file that changes more often while GitHub is asked is left alone for now. */
export const MOST_LOOKS = 5;

interface Approving {
  readonly approval: Approval;
  /** With what GitHub says now. */
  readonly attestation: Attestation;
  readonly entry: string;
  /** Those of the answers before whose people may approve still. */
  readonly earlier: readonly Answer[];
}

/**
 * Holds everybody who has approved against the access file that is in force when this returns. GitHub is asked meanwhile: where the file
 * then names other teams, it is asked again.
 */
async function whoApproves(
  parts: Parts,
  request: Request,
  live: Live,
  approver: Approver,
  { decision }: AnswerOrder,
): Promise<Approving> {
  const { mesh, read, losses } = parts;
  // A denial needs nobody beside it.
  const before = decision === 'approve' ? request.answers : [];
  const look = () => {
    const { approval } = stillOffered(parts, live, request.grant);
    return { approval, access: mesh.access(), asked: askedOf(approval.by, mesh.access().deny) };
  };
  let { asked } = look();
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const [attestation, ...others] = await Promise.all(
      [approver, ...before].map((one) => withFreshMemberships(one.attestation, asked, read, losses)),
    );
    // Meanwhile the session may have ended, too.
    pending(parts, request.id);
    const now = look();
    if (!isDeepStrictEqual(now.asked, asked)) {
      asked = now.asked;
      continue;
    }
    const entryOf = (one: Attestation) => approverEntry(now.approval, one, now.access, seconds(parts.clock));
    const entry = entryOf(attestation!);
    if (entry === undefined)
      throw new MeshpassError('approval_forbidden', `You are not among those who may approve ${request.grant}.`);
    const requester = identitiesNow(parts, request);
    const counts = (one: Answer, index: number) =>
      entryOf(others[index]!) !== undefined &&
      isIssuerOf(one.attestation, now.access) &&
      comparePeople(requester, one.identities) === 'different';
    const earlier = decision === 'approve' ? before.filter(counts) : request.answers;
    return { approval: now.approval, attestation: attestation!, entry, earlier };
  }
  throw new MeshpassError('issuer_unavailable', 'The access file changes all the time; try again.', { retryAfter: 5 });
}

/** That the issuer's name in the access file has not become another's. */
function isIssuerOf({ issuer, claims }: Attestation, { trust }: Access): boolean {
  const named = trust.issuers.find(({ name }) => name === issuer);
  return typeof claims.iss !== 'string' || named === undefined || named.issuer === claims.iss;
}

/** Requests that somebody may answer now. @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited` */
export async function mayAnswer(parts: Parts, { attestation }: Approver): Promise<readonly Request[]> {
  const { book, mesh, read, losses, clock, live } = parts;
  const open = [...book.all()].filter(({ state }) => state === 'pending');
  if (open.length === 0 || !mesh.inForce()) return [];
  const [identities, people] = [identitiesOf(attestation), peopleOf(live, mesh.access().trust)];
  const others = open.filter(
    ({ sessionId, identities: own }) =>
      live.byId(sessionId) && comparePeople(people(own, sessionId), identities) === 'different',
  );
  const approvals = new Map(mesh.access().grants.flatMap(({ name, approval }) => (approval ? [[name, approval]] : [])));
  const by = others.flatMap(({ grant }) => approvals.get(grant)?.by ?? []);
  const fresh = await withFreshMemberships(attestation, askedOf(by, mesh.access().deny), read, losses);
  return others.filter(({ grant }) => {
    const approval = approvals.get(grant);
    return approval && approverEntry(approval, fresh, mesh.access(), seconds(clock)) !== undefined;
  });
}

function pending({ book, live, clock }: Parts, id: string): { readonly request: Request; readonly live: Live } {
  const request = book.get(id);
  const session = request && live.byId(request.sessionId);
  if (!request || !session || session.ended) throw unknown(id);
  if (request.state !== 'pending' || request.answerBy <= seconds(clock)) throw unknown(id);
  return { request, live: session };
}

/** That the requester could still have it: they may have left the team meanwhile. */
function stillOffered({ mesh, authorize, clock }: Parts, live: Live, name: string) {
  const { requestable } = authorize(live.session.attestation, mesh.access(), seconds(clock));
  if (!requestable.some(({ grant }) => grant.name === name)) throw notOffered(name);
  return offered(mesh.access(), name);
}

/** Those by which they asked, and all that they have shown since. */
function identitiesNow({ live, mesh }: Parts, { identities, sessionId }: Request): readonly Identity[] {
  return peopleOf(live, mesh.access().trust)(identities, sessionId);
}

function refuseTwice(earlier: Answer, person: readonly Identity[], identities: readonly Identity[]): void {
  const compared = comparePeople(person, identities);
  if (compared === 'different') return;
  throw compared === 'same'
    ? new MeshpassError('approval_answered', 'You have answered this request: another person has to approve, too.')
    : new MeshpassError(
        'approval_not_comparable',
        `Nothing shows that you are not ${earlier.login}, who has approved already: answer with an identity of the same issuer.`,
      );
}

function answered(request: Request, count: number, given: Answer): Request {
  const answers = [...request.answers, given];
  if (given.decision === 'deny') return { ...request, answers, state: 'denied' };
  if (answers.length < count) return { ...request, answers };
  const length = Math.min(...answers.map((one) => one.seconds));
  return { ...request, answers, state: 'approved', until: given.at + length };
}

function requester({ issuer, subject, login, sessionId }: Request) {
  return { requester: { issuer, subject, login, session: sessionId } };
}
