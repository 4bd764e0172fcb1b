/** Reviews an emergency: checks the reviewer and applies the decision. */
import { approverEntry } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { ReviewOrder } from '@meshpass/identity/approval';
import { askedOf } from '../../attest/index.ts';
import { type AuditEvent, type Outcome, refused } from '../../audit/index.ts';
import { seconds } from '../../base/index.ts';
import { keepReplay, refuseReplayed } from './answer.ts';
import { askGithub, entriesFor } from './approvers.ts';
import type { Approver, Parts } from './parts.ts';
import { identitiesOf, peopleOf, refuseOwn } from './people.ts';
import { unknown } from './refusals.ts';
import { type EmergencyRequest, isTaken, type Request } from './request.ts';

/**
 * Records a review. If a reviewer objects while the session has the grant, the grant is removed first. Calls for one
 * emergency must not overlap.
 * @returns a refusal with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `issuer_unavailable` or `store_unavailable`
 */
export async function review(
  parts: Parts,
  reviewer: Approver,
  order: ReviewOrder,
  asked: AuditEvent,
): Promise<Outcome<Request>> {
  const how = { decision: order.decision, via: reviewer.via };
  let event: AuditEvent = { ...asked, target: order.id, reason: order.reason, detail: { ...asked.detail, ...how } };
  try {
    const request = reviewable(parts, order);
    const { issuer, subject, login, sessionId, grant } = request;
    const taker = { issuer, subject, login, session: sessionId };
    event = { ...event, grant, detail: { ...event.detail, taker } };
    const { trust } = parts.mesh.access();
    // Identities at the time of the emergency, and all identities shown since.
    const identities = peopleOf(parts.live, trust)(request.identities, sessionId);
    refuseOwn(identities, identitiesOf(reviewer.attestation), trust);
    const { entry, attestation } = await whoReviews(parts, request, reviewer);
    const given = { ...how, entry, at: seconds(parts.clock), reason: order.reason, event: event.id };
    const { issuer: by, subject: whose, login: named } = attestation;
    const reviews = [...request.emergency.reviews, { ...given, issuer: by, subject: whose, login: named }];
    const state = order.decision === 'accept' ? ('accepted' as const) : ('objected' as const);
    // Stored, because the bar must outlast the sessions that show the identities.
    const reviewed: Request = { ...request, identities, emergency: { ...request.emergency, state, reviews } };
    const cut = state === 'objected' && request.state === 'approved';
    const decided = { ...event, detail: { ...event.detail, entry, state, ...(cut && { ended: true }) } };
    if (!cut) return await parts.book.decide(decided, reviewed, reviewer.replay);
    // Serialized, because the bar only takes effect once it is written. Until then the grant must not be used again.
    return await parts.inTurn(async () => {
      await refuseReplayed(parts, reviewer);
      const live = parts.live.byId(sessionId);
      // The grant is removed first. If the broker stops in between, access is lost rather than kept.
      if (live) await parts.take(live, grant, `${named} objected to the emergency: ${order.reason}`);
      return await parts.book.decide(decided, { ...reviewed, state: 'revoked' }, reviewer.replay);
    });
  } catch (thrown) {
    return (await keepReplay(parts, reviewer, event, thrown)) ?? refused(event, thrown);
  }
}

function reviewable({ book }: Parts, { id, decision }: ReviewOrder): EmergencyRequest {
  const request = book.get(id);
  if (!request || !isTaken(request)) throw unknown(id);
  const { state } = request.emergency;
  if (state === 'accepted' || (state === 'objected' && decision === 'object'))
    throw new MeshpassError('approval_answered', `Emergency ${id} has already been reviewed: it was ${state}.`);
  return request;
}

async function whoReviews(parts: Parts, request: EmergencyRequest, { attestation }: Approver) {
  const { now, fresh } = await askGithub(parts, [attestation], () => {
    const access = parts.mesh.access();
    const by = entriesFor(access, request);
    return { access, by, asked: askedOf(by, access.deny) };
  });
  const [reviewer] = fresh as readonly [Approver['attestation']];
  const entry = approverEntry(now, reviewer, now.access, seconds(parts.clock));
  if (entry !== undefined) return { entry, attestation: reviewer };
  throw new MeshpassError('approval_forbidden', `You are not allowed to review emergencies for ${request.grant}.`);
}
