/** Answers a request or reviews an emergency: checks the approver and applies the decision. */
import { type Access, approverEntry } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { AnswerOrder, ReviewOrder } from '@meshpass/identity/approval';
import { askedOf } from '../../attest/index.ts';
import { type AuditEvent, type Outcome, refused } from '../../audit/index.ts';
import { seconds } from '../../base/index.ts';
import { askGithub, entriesFor } from './approvers.ts';
import type { Approver, Parts } from './parts.ts';
import { comparePeople, type Identity, identitiesOf, peopleOf, refuseOwn } from './people.ts';
import { offered, unknown } from './refusals.ts';
import { type Answer, boundedSeconds, type Request } from './request.ts';

/** Whether the order reviews an emergency. */
export function isReview(order: AnswerOrder | ReviewOrder): order is ReviewOrder {
  return order.decision === 'accept' || order.decision === 'object';
}

/**
 * Records an answer or a review and its effect on the request. Calls for one request must not overlap.
 * @returns a refusal with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `approval_not_offered`, `issuer_unavailable` or `store_unavailable`
 */
export async function answer(
  parts: Parts,
  approver: Approver,
  order: AnswerOrder | ReviewOrder,
  asked: AuditEvent,
): Promise<Outcome<Request>> {
  let event = asked;
  try {
    const request = answerable(parts, order);
    const { issuer, subject, login, sessionId, grant } = request;
    const person = { issuer, subject, login, session: sessionId };
    const role = isReview(order) ? { taker: person } : { requester: person };
    event = { ...event, grant, detail: { ...event.detail, ...role } };
    const requester = identitiesNow(parts, request);
    refuseOwn(requester, identitiesOf(approver.attestation), parts.mesh.access().trust);
    const approving = await whoApproves(parts, request, approver, order);
    const given = {
      via: approver.via,
      entry: approving.entry,
      issuer: approving.attestation.issuer,
      subject: approving.attestation.subject,
      login: approving.attestation.login,
      at: seconds(parts.clock),
      event: event.id,
    };
    return isReview(order)
      ? await review(parts, { ...request, identities: requester }, { ...order, ...given }, event)
      : await approve(parts, request, approver, approving, { ...order, ...given }, event);
  } catch (thrown) {
    return refused(event, thrown);
  }
}

/** Members that answers and reviews share. */
type Given = Pick<Answer, 'via' | 'entry' | 'issuer' | 'subject' | 'login' | 'at' | 'event'>;

async function approve(
  parts: Parts,
  request: Request,
  approver: Approver,
  { live, approval, attestation, earlier }: Approving,
  { id: _, ...given }: AnswerOrder & Given,
  event: AuditEvent,
): Promise<Outcome<Request>> {
  const identities = identitiesOf(approver.attestation);
  const people = peopleOf(parts.live, parts.mesh.access().trust);
  for (const one of earlier) refuseTwice(one, people(one.identities), identities);
  const { count } = approval!;
  const wanted = boundedSeconds(approval!, given.seconds ?? request.seconds);
  const next = answered(request, [...earlier, { ...given, identities, attestation, seconds: wanted }], count);
  const lost = request.answers.filter((one) => !earlier.includes(one)).map(({ login, event }) => ({ login, event }));
  const detail = { ...event.detail, entry: given.entry, state: next.state, ...(lost.length > 0 && { lost }) };
  const decided = { ...event, detail };
  if (next.until === undefined) return await parts.book.decide(decided, next);
  const gift = {
    cause: 'approved' as const,
    until: next.until,
    reason: `approved by ${next.answers.map(({ login }) => login).join(' and ')}`,
    detail: { request: next.id, decision: event.id },
  };
  return await parts.book.decideWith(
    decided,
    // The grant may end earlier because of its `session` limit or time window.
    (until) => ({ event: { ...decided, detail: { ...detail, until } }, request: { ...next, until } }),
    (decide) => parts.give(live!, next.grant, { ...gift, decided: decide }),
  );
}

/**
 * Records a review. If a reviewer objects while the session has the grant, the grant is removed first.
 * @param request with all identities known now, which are stored, because the bar must outlast the sessions that show
 *   them
 */
async function review(
  parts: Parts,
  request: Request,
  { id: _, ...given }: ReviewOrder & Given,
  event: AuditEvent,
): Promise<Outcome<Request>> {
  const state = given.decision === 'accept' ? ('accepted' as const) : ('objected' as const);
  const emergency = { ...request.emergency!, state, reviews: [...request.emergency!.reviews, given] };
  const reviewed: Request = { ...request, emergency };
  const cut = state === 'objected' && request.state === 'approved';
  const detail = { ...event.detail, entry: given.entry, state, ...(cut && { ended: true }) };
  if (!cut) return await parts.book.decide({ ...event, detail }, reviewed);
  // Serialized, because the bar only takes effect once it is written. Until then the grant must not be used again.
  return await parts.inTurn(async () => {
    const live = parts.live.byId(request.sessionId);
    // The grant is removed first. If the broker stops in between, access is lost rather than kept.
    if (live) await parts.take(live, request.grant, `${given.login} objected to the emergency: ${given.reason}`);
    return await parts.book.decide({ ...event, detail }, { ...reviewed, state: 'revoked' });
  });
}

type Approving = Awaited<ReturnType<typeof whoApproves>>;

/** Checks each approver against the access file in force and GitHub's current data. */
async function whoApproves(parts: Parts, request: Request, approver: Approver, order: AnswerOrder | ReviewOrder) {
  // A single denial is final.
  const before = order.decision === 'approve' ? request.answers : [];
  const people = [approver, ...before].map((one) => one.attestation);
  const { now, fresh } = await askGithub(parts, people, () => {
    // The session may have ended during the GitHub request, and the requester may have left the team.
    answerable(parts, order);
    const access = parts.mesh.access();
    const live = parts.live.byId(request.sessionId);
    const approval = isReview(order) ? undefined : offered(parts, live!.session.attestation, request.grant);
    const by = approval?.by ?? entriesFor(access, request);
    return { live, approval, by, access, asked: askedOf(by, access.deny) };
  });
  const [attestation, ...others] = fresh as readonly [Attestation, ...Attestation[]];
  const entryOf = (one: Attestation) => approverEntry(now, one, now.access, seconds(parts.clock));
  const entry = entryOf(attestation);
  if (entry === undefined) {
    const act = isReview(order) ? 'review emergencies for' : 'approve';
    throw new MeshpassError('approval_forbidden', `You are not allowed to ${act} ${request.grant}.`);
  }
  const requester = identitiesNow(parts, request);
  const counts = (one: Answer, index: number) =>
    entryOf(others[index]!) !== undefined &&
    isIssuerOf(one.attestation, now.access) &&
    comparePeople(requester, one.identities) === 'different';
  return {
    /** Session of the requester; may be undefined for a review. */
    live: now.live,
    /** Approval that the access file offers to the requester; undefined for a review. */
    approval: now.approval,
    /** Attestation of the approver with GitHub's current data. */
    attestation,
    entry,
    /** Earlier answers from people who may still approve. */
    earlier: order.decision === 'approve' ? before.filter(counts) : request.answers,
  };
}

/** Whether the issuer's name in the access file still refers to the same issuer. */
function isIssuerOf({ issuer, claims }: Attestation, { trust }: Access): boolean {
  const named = trust.issuers.find(({ name }) => name === issuer);
  return typeof claims.iss !== 'string' || named === undefined || named.issuer === claims.iss;
}

function answerable({ book, live, clock }: Parts, order: AnswerOrder | ReviewOrder): Request {
  const { id, decision } = order;
  const request = book.get(id);
  if (!request) throw unknown(id);
  if (isReview(order)) {
    const { state } = request.emergency ?? {};
    if (state === undefined) throw unknown(id);
    if (state === 'accepted' || (state === 'objected' && decision === 'object'))
      throw new MeshpassError('approval_answered', `Emergency ${id} has already been reviewed: it was ${state}.`);
    return request;
  }
  const session = live.byId(request.sessionId);
  if (!session || session.ended) throw unknown(id);
  if (request.state !== 'pending' || request.answerBy <= seconds(clock)) throw unknown(id);
  return request;
}

/** Returns the identities known at the time of the request and all that the requester's sessions have shown since. */
function identitiesNow({ live, mesh }: Parts, { identities, sessionId }: Request): readonly Identity[] {
  return peopleOf(live, mesh.access().trust)(identities, sessionId);
}

function refuseTwice(earlier: Answer, person: readonly Identity[], identities: readonly Identity[]): void {
  const compared = comparePeople(person, identities);
  if (compared === 'different') return;
  throw compared === 'same'
    ? new MeshpassError(
        'approval_answered',
        'You have already answered this request. Another person must also approve it.',
      )
    : new MeshpassError(
        'approval_not_comparable',
        `Cannot verify that you are not ${earlier.login}, who has already approved. Answer with an identity from the same issuer.`,
      );
}

/** Returns the request with all its answers, the last of which is new. */
function answered(request: Request, answers: readonly Answer[], count: number): Request {
  const { decision, at } = answers.at(-1)!;
  if (decision === 'deny') return { ...request, answers, state: 'denied' };
  if (answers.length < count) return { ...request, answers };
  return { ...request, answers, state: 'approved', until: at + Math.min(...answers.map((one) => one.seconds)) };
}
