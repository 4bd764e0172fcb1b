/** Answers a request or reviews an emergency: checks the approver and applies the decision. */
import { type Access, approverEntry } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { ApprovalAnswerBody, ApprovalReviewBody } from '@meshpass/identity/approval';
import { approverMemberships } from '../../attest/index.ts';
import { type AuditEvent, type Outcome, refusedOutcome } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { approverEntries, queryGithub } from './approvers.ts';
import type { ApprovalParts, Approver } from './parts.ts';
import { comparePeople, createIdentityLinker, type Identity, identitiesOf, refuseSelfApproval } from './people.ts';
import { requireApprovalOffer, unknown } from './refusals.ts';
import { type Answer, type GrantRequest, grantDurationSeconds } from './request.ts';

/** Whether the body is a review of an emergency. */
export function isReviewBody(order: ApprovalAnswerBody | ApprovalReviewBody): order is ApprovalReviewBody {
  return order.decision === 'accept' || order.decision === 'object';
}

/**
 * Records an answer or a review and its effect on the request. Calls for one request must not overlap.
 * @returns a refusal with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `approval_not_offered`, `issuer_unavailable` or `store_unavailable`
 */
export async function recordAnswer(
  parts: ApprovalParts,
  approver: Approver,
  order: ApprovalAnswerBody | ApprovalReviewBody,
  asked: AuditEvent,
): Promise<Outcome<GrantRequest>> {
  let event = asked;
  try {
    const request = answerable(parts, order);
    const { issuer, subject, login, sessionId, grant } = request;
    const person = { issuer, subject, login, session: sessionId };
    const role = isReviewBody(order) ? { taker: person } : { requester: person };
    event = { ...event, grant, detail: { ...event.detail, ...role } };
    const requester = identitiesNow(parts, request);
    refuseSelfApproval(requester, identitiesOf(approver.attestation), parts.mesh.access().trust);
    const approving = await whoApproves(parts, request, approver, order);
    const given = {
      via: approver.via,
      entry: approving.entry,
      issuer: approving.attestation.issuer,
      subject: approving.attestation.subject,
      login: approving.attestation.login,
      at: toUnixSeconds(parts.clock),
      event: event.id,
    };
    return isReviewBody(order)
      ? await review(parts, { ...request, identities: requester }, { ...order, ...given }, event)
      : await approve(parts, request, approver, approving, { ...order, ...given }, event);
  } catch (thrown) {
    return refusedOutcome(event, thrown);
  }
}

/** Members that answers and reviews have in common. */
type Given = Pick<Answer, 'via' | 'entry' | 'issuer' | 'subject' | 'login' | 'at' | 'event'>;

async function approve(
  parts: ApprovalParts,
  request: GrantRequest,
  approver: Approver,
  { live, approval, attestation, earlier }: Approving,
  { id: _, ...given }: ApprovalAnswerBody & Given,
  event: AuditEvent,
): Promise<Outcome<GrantRequest>> {
  const identities = identitiesOf(approver.attestation);
  const people = createIdentityLinker(parts.live, parts.mesh.access().trust);
  for (const one of earlier) refuseTwice(one, people(one.identities), identities);
  const { count } = approval!;
  const wanted = grantDurationSeconds(approval!, given.seconds ?? request.seconds);
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
 * @param request the request with all identities known now. They are stored, because the person must stay barred even
 *   after the sessions that revealed these identities have ended
 */
async function review(
  parts: ApprovalParts,
  request: GrantRequest,
  { id: _, ...given }: ApprovalReviewBody & Given,
  event: AuditEvent,
): Promise<Outcome<GrantRequest>> {
  const state = given.decision === 'accept' ? ('accepted' as const) : ('objected' as const);
  const emergency = { ...request.emergency!, state, reviews: [...request.emergency!.reviews, given] };
  const reviewed: GrantRequest = { ...request, emergency };
  const cut = state === 'objected' && request.state === 'approved';
  const detail = { ...event.detail, entry: given.entry, state, ...(cut && { ended: true }) };
  if (!cut) return await parts.book.decide({ ...event, detail }, reviewed);
  // Serialized, because the person is only barred once this is written. Until then, they must not be able to take the
  // grant again.
  return await parts.inTurn(async () => {
    const live = parts.live.byId(request.sessionId);
    // The grant is removed first. If the broker stops in between, access is lost rather than kept.
    if (live) await parts.take(live, request.grant, `${given.login} objected to the emergency: ${given.reason}`);
    return await parts.book.decide({ ...event, detail }, { ...reviewed, state: 'revoked' });
  });
}

type Approving = Awaited<ReturnType<typeof whoApproves>>;

/** Checks each approver against the access file in force and GitHub's current data. */
async function whoApproves(
  parts: ApprovalParts,
  request: GrantRequest,
  approver: Approver,
  order: ApprovalAnswerBody | ApprovalReviewBody,
) {
  // A single denial is final.
  const before = order.decision === 'approve' ? request.answers : [];
  const people = [approver, ...before].map((one) => one.attestation);
  const { now, fresh } = await queryGithub(parts, people, () => {
    // The session may have ended during the GitHub request, and the requester may have left the team.
    answerable(parts, order);
    const access = parts.mesh.access();
    const live = parts.live.byId(request.sessionId);
    const approval = isReviewBody(order)
      ? undefined
      : requireApprovalOffer(parts, live!.session.attestation, request.grant);
    const by = approval?.by ?? approverEntries(access, request);
    return { live, approval, by, access, asked: approverMemberships(by, access.deny) };
  });
  const [attestation, ...others] = fresh as readonly [Attestation, ...Attestation[]];
  const entryOf = (one: Attestation) => approverEntry(now, one, now.access, toUnixSeconds(parts.clock));
  const entry = entryOf(attestation);
  if (entry === undefined) {
    const act = isReviewBody(order) ? 'review emergencies for' : 'approve';
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

function answerable(
  { book, live, clock }: ApprovalParts,
  order: ApprovalAnswerBody | ApprovalReviewBody,
): GrantRequest {
  const { id, decision } = order;
  const request = book.get(id);
  if (!request) throw unknown(id);
  if (isReviewBody(order)) {
    const { state } = request.emergency ?? {};
    if (state === undefined) throw unknown(id);
    if (state === 'accepted' || (state === 'objected' && decision === 'object'))
      throw new MeshpassError('approval_answered', `Emergency ${id} has already been reviewed: it was ${state}.`);
    return request;
  }
  const session = live.byId(request.sessionId);
  if (!session || session.ended) throw unknown(id);
  if (request.state !== 'pending' || request.answerBy <= toUnixSeconds(clock)) throw unknown(id);
  return request;
}

/**
 * Returns the identities known at the time of the request, and all that the requester's sessions have revealed since.
 */
function identitiesNow({ live, mesh }: ApprovalParts, { identities, sessionId }: GrantRequest): readonly Identity[] {
  return createIdentityLinker(live, mesh.access().trust)(identities, sessionId);
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

/** Returns the request updated with these answers. The last one is new. */
function answered(request: GrantRequest, answers: readonly Answer[], count: number): GrantRequest {
  const { decision, at } = answers.at(-1)!;
  if (decision === 'deny') return { ...request, answers, state: 'denied' };
  if (answers.length < count) return { ...request, answers };
  return { ...request, answers, state: 'approved', until: at + Math.min(...answers.map((one) => one.seconds)) };
}
