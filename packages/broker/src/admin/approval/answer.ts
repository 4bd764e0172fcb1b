/**
 * Handles answers to requests and reviews of emergencies: verifies the approver against the access file in force and
 * with fresh data from GitHub, then applies their decision.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Access, approverEntry, type Who } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { ApprovalAnswerBody, ApprovalReviewBody } from '@meshpass/identity/approval';
import { approverMemberships, withFreshMemberships } from '../../attest/index.ts';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { requireApprovalOffer } from './create-request.ts';
import type { ApprovalParts, Approver } from './parts.ts';
import { comparePeople, createIdentityLinker, type Identity, identitiesOf, refuseSelfApproval } from './people.ts';
import { type Answer, type GrantRequest, grantDurationSeconds, isEmergencyRequest, unknown } from './request.ts';

/** How many times GitHub is queried for one decision if the access file keeps changing. */
const MAX_LOOKS = 5;

/** Whether the body is a review of an emergency rather than an answer to a request. */
export function isReviewBody(order: ApprovalAnswerBody | ApprovalReviewBody): order is ApprovalReviewBody {
  return order.decision === 'accept' || order.decision === 'object';
}

/** A person's answer to a request, or their review of an emergency. */
interface Given<Order> {
  readonly approver: Approver;
  readonly order: Order;
  readonly event: AuditEvent;
}

/**
 * Records an answer or a review, and applies it to the request. Calls for one request must not overlap.
 * @returns the request in its new state
 * @throws MeshpassError `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `approval_not_offered`, `access_none`, `session_closed`, `issuer_unavailable`,
 *   `issuer_rate_limited`, `kubernetes_unavailable`, `store_unavailable`, `overloaded`
 */
export async function recordAnswer(
  parts: ApprovalParts,
  { approver, order, event }: Given<ApprovalAnswerBody | ApprovalReviewBody>,
): Promise<GrantRequest> {
  const request = parts.book.get(order.id);
  if (!request) throw unknown(order.id);
  const { session, grant } = request;
  const person = { ...request.person, session };
  annotateEvent(event, { grant, detail: isReviewBody(order) ? { taker: person } : { requester: person } });
  return isReviewBody(order)
    ? await review(parts, { approver, order, event })
    : await answer(parts, { approver, order, event });
}

async function answer(parts: ApprovalParts, answering: Given<ApprovalAnswerBody>): Promise<GrantRequest> {
  const { approver, order, event } = answering;
  const { decision, reason } = order;
  const current = () => answerable(parts, order.id);
  const before = current().request.answers;
  // A single denial decides the request, so earlier answers only matter for approvals.
  const rechecked = decision === 'approve' ? before : [];
  const { now, given, attestation, stillCount } = await authorizeApprover(parts, answering, rechecked, current);
  const { request, live, approval } = now;
  const earlier = decision === 'approve' ? stillCount : before;
  const identities = identitiesOf(approver.attestation);
  const people = createIdentityLinker(parts.live, parts.mesh.access().trust);
  for (const one of earlier) refuseTwice(one, people(one.identities), identities);
  const seconds = grantDurationSeconds(approval, order.seconds ?? request.seconds);
  const own: Answer = { ...given, identities, attestation, decision, reason, seconds };
  const next = answered(request, [...earlier, own], approval.count);
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

/** Records a review. If the reviewer objects while the session still has the grant, the grant is removed first. */
async function review(parts: ApprovalParts, reviewing: Given<ApprovalReviewBody>): Promise<GrantRequest> {
  const { order, event } = reviewing;
  const current = () => reviewable(parts, order);
  const { now, given, requester } = await authorizeApprover(parts, reviewing, [], current);
  const { request } = now;
  const { decision, reason } = order;
  const state = decision === 'accept' ? ('accepted' as const) : ('objected' as const);
  const reviews = [...request.emergency.reviews, { ...given, decision, reason }];
  // Store all currently known identities of the requester, so that the person stays barred even after the sessions that
  // revealed these identities have ended.
  const reviewed: GrantRequest = {
    ...request,
    identities: requester,
    emergency: { ...request.emergency, state, reviews },
  };
  const cut = state === 'objected' && request.state === 'approved';
  annotateEvent(event, { detail: { entry: given.entry, state, ...(cut && { ended: true }) } });
  if (!cut) return await parts.book.decide(event, reviewed);
  // Serialized, because the person is only barred once this is written. Until then, they must not be able to take the
  // grant again.
  return await parts.inTurn(async () => {
    const live = parts.live.byId(request.session);
    // Remove the grant before recording the decision. If the broker crashes in between, the session is left without
    // the grant instead of keeping it.
    if (live) await parts.take(live, request.grant, `${given.login} objected to the emergency: ${reason}`);
    return await parts.book.decide(event, { ...reviewed, state: 'revoked' });
  });
}

/** A request or an emergency that can currently be decided on. */
interface Current {
  readonly request: GrantRequest;
  /** The access file entries that list its approvers or reviewers. */
  readonly by: readonly Who[];
}

/**
 * Checks that the approver may answer, and determines which earlier answers still count. This uses the access file in
 * force and fresh data from GitHub.
 * @param before the earlier answers to check again
 * @param current returns the request or emergency to decide on. It is called again after the GitHub requests, because
 *   the session may have ended or the requester may have left the team in the meantime
 */
async function authorizeApprover<Now extends Current>(
  parts: ApprovalParts,
  { approver, event }: Given<unknown>,
  before: readonly Answer[],
  current: () => Now,
) {
  const { request } = current();
  const known = identitiesNow(parts, request);
  refuseSelfApproval(known, identitiesOf(approver.attestation), parts.mesh.access().trust);
  const people = [approver, ...before].map((one) => one.attestation);
  const { now, access, fresh } = await queryGithub(parts, people, current);
  const [attestation, ...others] = fresh as readonly [Attestation, ...Attestation[]];
  const at = toUnixSeconds(parts.clock);
  const entryOf = (one: Attestation) => approverEntry(now, one, access, at);
  const entry = entryOf(attestation);
  if (entry === undefined) {
    const act = request.emergency ? 'review emergencies for' : 'approve';
    throw new MeshpassError('approval_forbidden', `You are not allowed to ${act} ${request.grant}.`);
  }
  const requester = identitiesNow(parts, { ...request, identities: known });
  const counts = (one: Answer, index: number) =>
    entryOf(others[index]!) !== undefined &&
    isIssuerOf(one.attestation, access) &&
    comparePeople(requester, one.identities) === 'different';
  const { issuer, subject, login } = attestation;
  return {
    now,
    /** Every identity that the requester is known to have. */
    requester,
    /** The approver's attestation, updated with fresh data from GitHub. */
    attestation,
    /** The members that answers and reviews have in common. */
    given: { via: approver.via, entry, issuer, subject, login, at, event: event.id },
    /** The earlier answers that still count, because the people who gave them are still allowed to approve. */
    stillCount: before.filter(counts),
  };
}

/**
 * Reads memberships from GitHub, and reads them again if an access file change in the meantime makes other teams
 * relevant.
 * @returns the last result of `current` with the access file that it is based on, and the attestations with fresh
 *   GitHub data, in the same order as `people`
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`, and any error from `current`
 */
async function queryGithub<Now extends Current>(
  { mesh, read, losses }: ApprovalParts,
  people: readonly Attestation[],
  current: () => Now,
) {
  const look = () => {
    const [now, access] = [current(), mesh.access()];
    return { now, access, query: approverMemberships(now.by, access.deny) };
  };
  let { query } = look();
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const before = query;
    const fresh: readonly Attestation[] = await Promise.all(
      people.map((one) => withFreshMemberships(one, before, read, losses)),
    );
    const { now, access, query: after } = look();
    if (isDeepStrictEqual(after, before)) return { now, access, fresh };
    query = after;
  }
  throw new MeshpassError('issuer_unavailable', 'The access file keeps changing; try again.', { retryAfter: 5 });
}

/** Whether the issuer that signed the attestation is still the one that the access file lists under this name. */
function isIssuerOf({ issuer, claims }: Attestation, { trust }: Access): boolean {
  const named = trust.issuers.find(({ name }) => name === issuer);
  return typeof claims.iss !== 'string' || named === undefined || named.issuer === claims.iss;
}

/** Returns a pending request, its session, and the approval that the access file currently offers to the requester. */
function answerable(parts: ApprovalParts, id: string) {
  const request = parts.book.get(id);
  const live = request && parts.live.byId(request.session);
  if (!live || live.ended) throw unknown(id);
  if (request.state !== 'pending' || request.answer_by <= toUnixSeconds(parts.clock)) throw unknown(id);
  const approval = requireApprovalOffer(parts, live.session.attestation, request.grant);
  return { request, live, approval, by: approval.by };
}

/** Returns an emergency that can still be reviewed. */
function reviewable({ book, mesh }: ApprovalParts, { id, decision }: ApprovalReviewBody) {
  const request = book.get(id);
  if (!request || !isEmergencyRequest(request)) throw unknown(id);
  const { state } = request.emergency;
  if (state === 'accepted' || (state === 'objected' && decision === 'object'))
    throw new MeshpassError('approval_answered', `Emergency ${id} has already been reviewed: it was ${state}.`);
  return { request, by: approverEntries(mesh.access(), request) };
}

/**
 * Returns the access file entries that list the approvers of a request or the reviewers of an emergency. If the file in
 * force no longer lists any reviewers, those at the time of the emergency apply.
 */
function approverEntries({ grants }: Access, { grant, emergency }: GrantRequest): readonly Who[] {
  const approval = grants.find(({ name }) => name === grant)?.approval;
  return emergency ? (approval?.emergency?.review ?? emergency.by) : (approval?.by ?? []);
}

/**
 * Returns the requests that this person may answer or review, which never include their own.
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function listAnswerableRequests(
  { mesh, read, losses, clock, live }: ApprovalParts,
  attestation: Attestation,
  waiting: readonly GrantRequest[],
): Promise<readonly GrantRequest[]> {
  if (waiting.length === 0 || !mesh.inForce()) return [];
  const access = mesh.access();
  const [identities, people] = [identitiesOf(attestation), createIdentityLinker(live, access.trust)];
  const others = waiting.filter(
    (one) => comparePeople(people(one.identities, one.session), identities) === 'different',
  );
  const by = others.flatMap((one) => approverEntries(access, one));
  const fresh = await withFreshMemberships(attestation, approverMemberships(by, access.deny), read, losses);
  const mayAnswer = (one: GrantRequest) => {
    const now = mesh.access();
    return approverEntry({ by: approverEntries(now, one) }, fresh, now, toUnixSeconds(clock)) !== undefined;
  };
  return others.filter(mayAnswer);
}

/**
 * Returns the identities known when the request was made, plus any that the requester's sessions have revealed since.
 */
function identitiesNow({ live, mesh }: ApprovalParts, { identities, session }: GrantRequest): readonly Identity[] {
  return createIdentityLinker(live, mesh.access().trust)(identities, session);
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
