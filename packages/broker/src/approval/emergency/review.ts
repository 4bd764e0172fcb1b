/** Somebody reviews what another person has taken in an emergency: whether they may, and what follows. */
import { isDeepStrictEqual } from 'node:util';
import { type Access, approverEntry, type Who } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { ReviewOrder } from '@meshpass/identity/approval';
import { type Outcome, refused } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import { seconds } from '../../clock/clock.ts';
import { keepReplay, MOST_LOOKS, refuseReplayed } from '../answer.ts';
import { askedOf, withFreshMemberships } from '../memberships.ts';
import type { Approver, Parts } from '../parts.ts';
import { comparePeople, identitiesOf, peopleOf, refuseOwn } from '../people.ts';
import { unknown } from '../refusals.ts';
import { type EmergencyRequest, isTaken, type Request } from '../request.ts';

/**
 * Writes a review. An objection while the session holds the grant takes it first. One at a time for an emergency.
 * @returns refused with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`, `approval_answered`,
 *   `issuer_unavailable`, `store_unavailable`
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
    // By which they took it, and all that they have shown since.
    const identities = peopleOf(parts.live, trust)(request.identities, sessionId);
    refuseOwn(identities, identitiesOf(reviewer.attestation), trust);
    const { entry, attestation } = await whoReviews(parts, request, reviewer);
    const given = { ...how, entry, at: seconds(parts.clock), reason: order.reason, event: event.id };
    const { issuer: by, subject: whose, login: named } = attestation;
    const reviews = [...request.emergency.reviews, { ...given, issuer: by, subject: whose, login: named }];
    const state = order.decision === 'accept' ? ('accepted' as const) : ('objected' as const);
    // Kept: the sessions that show it end, and what bars them stays.
    const reviewed: Request = { ...request, identities, emergency: { ...request.emergency, state, reviews } };
    const cut = state === 'objected' && request.state === 'approved';
    const decided = { ...event, detail: { ...event.detail, entry, state, ...(cut && { ended: true }) } };
    if (!cut) return await parts.book.decide(decided, reviewed, reviewer.replay);
    // The bar counts once it is written: until then nobody takes the grant again.
    return await parts.inTurn(async () => {
      await refuseReplayed(parts, reviewer);
      const live = parts.live.byId(sessionId);
      // Taken first: a broker that ends between the two has taken too much, not too little.
      if (live) await parts.take(live, grant, `${named} objected to the emergency: ${order.reason}`);
      return await parts.book.decide(decided, { ...reviewed, state: 'revoked' }, reviewer.replay);
    });
  } catch (thrown) {
    return (await keepReplay(parts, reviewer, event, thrown)) ?? refused(event, thrown);
  }
}

/**
 * Emergencies of others that wait for a review which somebody may give. Those that were objected to wait for nobody: they are accepted by
 * their id, and GitHub is not asked at every list for as long as they stay.
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function mayReview(parts: Parts, { attestation }: Approver): Promise<readonly Request[]> {
  const { book, mesh, read, losses, clock, live } = parts;
  const waiting = [...book.all()]
    .filter(isTaken)
    .filter(({ emergency: { state } }) => state === 'open' || state === 'overdue');
  if (waiting.length === 0 || !mesh.inForce()) return [];
  const access = mesh.access();
  const [identities, people] = [identitiesOf(attestation), peopleOf(live, access.trust)];
  const others = waiting.filter(
    (one) => comparePeople(people(one.identities, one.sessionId), identities) === 'different',
  );
  const by = others.flatMap((one) => reviewersOf(access, one));
  const fresh = await withFreshMemberships(attestation, askedOf(by, access.deny), read, losses);
  return others.filter(
    (one) => approverEntry({ by: reviewersOf(mesh.access(), one) }, fresh, mesh.access(), seconds(clock)) !== undefined,
  );
}

function reviewable({ book }: Parts, { id, decision }: ReviewOrder): EmergencyRequest {
  const request = book.get(id);
  if (!request || !isTaken(request)) throw unknown(id);
  const { state } = request.emergency;
  if (state === 'accepted' || (state === 'objected' && decision === 'object'))
    throw new MeshpassError('approval_answered', `Emergency ${id} has been reviewed: it was ${state}.`);
  return request;
}

/** Held against the access file that is in force when this returns. */
async function whoReviews(parts: Parts, request: EmergencyRequest, { attestation }: Approver) {
  const { mesh, read, losses, clock } = parts;
  const look = () => askedOf(reviewersOf(mesh.access(), request), mesh.access().deny);
  let asked = look();
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const fresh = await withFreshMemberships(attestation, asked, read, losses);
    const now = look();
    if (!isDeepStrictEqual(now, asked)) {
      asked = now;
      continue;
    }
    const access = mesh.access();
    const entry = approverEntry({ by: reviewersOf(access, request) }, fresh, access, seconds(clock));
    if (entry !== undefined) return { entry, attestation: fresh };
    throw new MeshpassError(
      'approval_forbidden',
      `You are not among those who may review emergencies of ${request.grant}.`,
    );
  }
  throw new MeshpassError('issuer_unavailable', 'The access file changes all the time; try again.', { retryAfter: 5 });
}

/** Whom the access file in force names; those of when it was taken where it names nobody any more. */
function reviewersOf({ grants }: Access, { grant, emergency }: EmergencyRequest): readonly Who[] {
  return grants.find(({ name }) => name === grant)?.approval?.emergency?.review ?? emergency.by;
}
