/** Handles answers to requests and reviews of emergencies: verifies the approver, then applies their decision. */
import { type Access, type Approval, approverEntry } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { ApprovalAnswerBody, ApprovalReviewBody } from '@meshpass/identity/approval';
import { approverMemberships } from '../../attest/index.ts';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { Live } from '../../core/index.ts';
import { approverEntries, queryGithub } from './approvers.ts';
import type { ApprovalParts, Approver } from './parts.ts';
import { comparePeople, createIdentityLinker, type Identity, identitiesOf, refuseSelfApproval } from './people.ts';
import { requireApprovalOffer, unknown } from './refusals.ts';
import {
  type Answer,
  type EmergencyRequest,
  type GrantRequest,
  grantDurationSeconds,
  isEmergencyRequest,
} from './request.ts';

/** Whether the body is a review of an emergency rather than an answer to a request. */
export function isReviewBody(order: ApprovalAnswerBody | ApprovalReviewBody): order is ApprovalReviewBody {
  return order.decision === 'accept' || order.decision === 'object';
}

/** A pending request, together with the approval that the access file currently offers to the requester. */
interface Answering {
  readonly kind: 'answer';
  readonly order: ApprovalAnswerBody;
  readonly request: GrantRequest;
  /** The requester's session. */
  readonly live: Live;
  readonly approval: Approval;
}

/** An emergency that can still be reviewed. */
interface Reviewing {
  readonly kind: 'review';
  readonly order: ApprovalReviewBody;
  readonly request: EmergencyRequest;
}

/** The fields that answers and reviews have in common. */
type Given = Pick<Answer, 'via' | 'entry' | 'issuer' | 'subject' | 'login' | 'at' | 'event'>;

/**
 * Records an answer or a review, and applies it to the request. Calls for one request must not overlap.
 * @returns the request in its new state
 * @throws MeshpassError `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `approval_not_offered`, `access_none`, `session_closed`, `issuer_unavailable`,
 *   `issuer_rate_limited`, `kubernetes_unavailable`, `store_unavailable`, `overloaded`
 */
export async function recordAnswer(
  parts: ApprovalParts,
  approver: Approver,
  order: ApprovalAnswerBody | ApprovalReviewBody,
  event: AuditEvent,
): Promise<GrantRequest> {
  const request = parts.book.get(order.id);
  if (!request) throw unknown(order.id);
  const { issuer, subject, login, sessionId, grant } = request;
  const person = { issuer, subject, login, session: sessionId };
  annotateEvent(event, { grant, detail: isReviewBody(order) ? { taker: person } : { requester: person } });
  const current = () => (isReviewBody(order) ? reviewable(parts, order) : answerable(parts, order));
  const { now, attestation, entry, earlier, requester } = await authorizeApprover(parts, approver, current);
  const given = {
    via: approver.via,
    entry,
    issuer: attestation.issuer,
    subject: attestation.subject,
    login: attestation.login,
    at: toUnixSeconds(parts.clock),
    event: event.id,
  };
  if (now.kind === 'review')
    return await review(parts, { ...now.request, identities: requester }, { ...now.order, ...given }, event);
  const identities = identitiesOf(approver.attestation);
  return await approve(parts, now, earlier, { ...given, identities, attestation }, event);
}

async function approve(
  parts: ApprovalParts,
  { order, request, live, approval }: Answering,
  earlier: readonly Answer[],
  given: Given & Pick<Answer, 'identities' | 'attestation'>,
  event: AuditEvent,
): Promise<GrantRequest> {
  const people = createIdentityLinker(parts.live, parts.mesh.access().trust);
  for (const one of earlier) refuseTwice(one, people(one.identities), given.identities);
  const { decision, reason } = order;
  const seconds = grantDurationSeconds(approval, order.seconds ?? request.seconds);
  const next = answered(request, [...earlier, { ...given, decision, reason, seconds }], approval.count);
  const lost = request.answers.filter((one) => !earlier.includes(one)).map(({ login, event }) => ({ login, event }));
  annotateEvent(event, { detail: { entry: given.entry, state: next.state, ...(lost.length > 0 && { lost }) } });
  if (next.until === undefined) return await parts.book.decide(event, next);
  const gift = {
    cause: 'approved' as const,
    until: next.until,
    reason: `approved by ${next.answers.map(({ login }) => login).join(' and ')}`,
    detail: { request: next.id, decision: event.id },
  };
  // The grant may end earlier because of its `session` limit or time window.
  return await parts.book.decideWith(event, next, (decided) => parts.give(live, next.grant, { ...gift, decided }));
}

/**
 * Records a review. If the reviewer objects while the session still has the grant, the grant is removed first.
 * @param request the request, including all currently known identities of the requester. They are stored so that the
 *   person stays barred even after the sessions that revealed these identities have ended
 */
async function review(
  parts: ApprovalParts,
  request: EmergencyRequest,
  { id: _, ...given }: ApprovalReviewBody & Given,
  event: AuditEvent,
): Promise<GrantRequest> {
  const state = given.decision === 'accept' ? ('accepted' as const) : ('objected' as const);
  const emergency = { ...request.emergency, state, reviews: [...request.emergency.reviews, given] };
  const reviewed: GrantRequest = { ...request, emergency };
  const cut = state === 'objected' && request.state === 'approved';
  annotateEvent(event, { detail: { entry: given.entry, state, ...(cut && { ended: true }) } });
  if (!cut) return await parts.book.decide(event, reviewed);
  // Serialized, because the person is only barred once this is written. Until then, they must not be able to take the
  // grant again.
  return await parts.inTurn(async () => {
    const live = parts.live.byId(request.sessionId);
    // Remove the grant before recording the decision. If the broker crashes in between, the session is left without
    // the grant instead of keeping it.
    if (live) await parts.take(live, request.grant, `${given.login} objected to the emergency: ${given.reason}`);
    return await parts.book.decide(event, { ...reviewed, state: 'revoked' });
  });
}

/**
 * Checks that the approver may answer, and determines which earlier answers still count. This uses the access file in
 * force and fresh data from GitHub.
 * @param current returns the request or emergency to decide on. It is called again after the GitHub requests, because
 *   the session may have ended or the requester may have left the team in the meantime
 */
async function authorizeApprover(parts: ApprovalParts, approver: Approver, current: () => Answering | Reviewing) {
  const { order, request } = current();
  const known = identitiesNow(parts, request);
  refuseSelfApproval(known, identitiesOf(approver.attestation), parts.mesh.access().trust);
  // A single denial decides the request, so earlier answers only matter for approvals.
  const before = order.decision === 'approve' ? request.answers : [];
  const people = [approver, ...before].map((one) => one.attestation);
  const { now, fresh } = await queryGithub(parts, people, () => {
    const found = current();
    const access = parts.mesh.access();
    const by = found.kind === 'answer' ? found.approval.by : approverEntries(access, found.request);
    return { ...found, by, access, query: approverMemberships(by, access.deny) };
  });
  const [attestation, ...others] = fresh as readonly [Attestation, ...Attestation[]];
  const entryOf = (one: Attestation) => approverEntry(now, one, now.access, toUnixSeconds(parts.clock));
  const entry = entryOf(attestation);
  if (entry === undefined) {
    const act = now.kind === 'review' ? 'review emergencies for' : 'approve';
    throw new MeshpassError('approval_forbidden', `You are not allowed to ${act} ${request.grant}.`);
  }
  const requester = identitiesNow(parts, { ...request, identities: known });
  const counts = (one: Answer, index: number) =>
    entryOf(others[index]!) !== undefined &&
    isIssuerOf(one.attestation, now.access) &&
    comparePeople(requester, one.identities) === 'different';
  return {
    now,
    /** Every identity that the requester is known to have. */
    requester,
    /** The approver's attestation, updated with fresh data from GitHub. */
    attestation,
    entry,
    /** The earlier answers that still count, because the people who gave them are still allowed to approve. */
    earlier: order.decision === 'approve' ? before.filter(counts) : request.answers,
  };
}

/** Whether the issuer that signed the attestation is still the one that the access file lists under this name. */
function isIssuerOf({ issuer, claims }: Attestation, { trust }: Access): boolean {
  const named = trust.issuers.find(({ name }) => name === issuer);
  return typeof claims.iss !== 'string' || named === undefined || named.issuer === claims.iss;
}

function answerable(parts: ApprovalParts, order: ApprovalAnswerBody): Answering {
  const { book, live, clock } = parts;
  const request = book.get(order.id);
  const session = request && live.byId(request.sessionId);
  if (!session || session.ended) throw unknown(order.id);
  if (request.state !== 'pending' || request.answerBy <= toUnixSeconds(clock)) throw unknown(order.id);
  const approval = requireApprovalOffer(parts, session.session.attestation, request.grant);
  return { kind: 'answer', order, request, live: session, approval };
}

function reviewable({ book }: ApprovalParts, order: ApprovalReviewBody): Reviewing {
  const request = book.get(order.id);
  if (!request || !isEmergencyRequest(request)) throw unknown(order.id);
  const { state } = request.emergency;
  if (state === 'accepted' || (state === 'objected' && order.decision === 'object'))
    throw new MeshpassError('approval_answered', `Emergency ${order.id} has already been reviewed: it was ${state}.`);
  return { kind: 'review', order, request };
}

/**
 * Returns the identities known when the request was made, plus any that the requester's sessions have revealed since.
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

/**
 * Returns a copy of the request with the given answers and the resulting state. Only the last answer is new.
 */
function answered(request: GrantRequest, answers: readonly Answer[], count: number): GrantRequest {
  const { decision, at } = answers.at(-1)!;
  if (decision === 'deny') return { ...request, answers, state: 'denied' };
  if (answers.length < count) return { ...request, answers };
  return { ...request, answers, state: 'approved', until: at + Math.min(...answers.map((one) => one.seconds)) };
}
