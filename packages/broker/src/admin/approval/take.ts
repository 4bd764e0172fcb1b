/**
 * Emergency access: immediately adds a grant to a session for a short time, without an approval. Another person reviews
 * it afterwards.
 */
import { approverEntry, isPerson } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { EmergencyOrder } from '@meshpass/identity/approval';
import type { AuditEvent, Outcome } from '../../audit/index.ts';
import { seconds } from '../../base/index.ts';
import { type Live, principalUnder, settledAttestation } from '../../core/index.ts';
import { refuseMany } from './emergency-limits.ts';
import type { Parts } from './parts.ts';
import { identitiesOf, peopleOf } from './people.ts';
import { type Request, requestOf } from './request.ts';

/**
 * Adds the grant and records the required review in one transaction. Calls must not overlap.
 * @throws MeshpassError `emergency_not_offered`, `emergency_barred`, `emergency_too_many`, `approval_open`,
 *   `request_malformed`
 * @returns a refusal with `access_none`, `session_closed` or `store_unavailable`
 */
export async function takeInEmergency(
  parts: Parts,
  live: Live,
  order: EmergencyOrder,
  event: AuditEvent,
): Promise<Outcome<Request>> {
  const { request, entry } = newEmergency(parts, live, order);
  const { id, grant, seconds: wanted, askedAt } = request;
  const taken = { ...event, target: id, reason: order.reason };
  const detail = { seconds: wanted, review_by: request.emergency?.reviewBy, entry };
  return await parts.book.decideWith(
    taken,
    (until) => ({ event: { ...taken, detail: { ...detail, until } }, request: { ...request, until } }),
    (decided) =>
      parts.give(live, grant, {
        cause: 'emergency',
        until: askedAt + wanted,
        reason: `taken in an emergency: ${order.reason}`,
        detail: { request: id, decision: event.id },
        decided,
      }),
  );
}

function newEmergency(parts: Parts, live: Live, { grant, seconds: asked, reason }: EmergencyOrder) {
  const { mesh, authorize, clock, random, losses } = parts;
  const access = mesh.access();
  const now = seconds(clock);
  const { session } = live;
  const attestation = settledAttestation(losses, session, access.trust.codespaces?.organization);
  if (!attestation || !isPerson(attestation, access, now)) throw notOffered(grant);
  const approval = authorize(attestation, access, now).requestable.find((one) => one.grant.name === grant)?.approval;
  const emergency = approval?.emergency;
  if (!emergency) throw notOffered(grant);
  const by = emergency.who;
  const entry = by && approverEntry({ by }, attestation, access, now);
  if (by && entry === undefined) throw notOffered(grant);
  if (principalUnder(session, grant))
    throw new MeshpassError('approval_open', `You already have ${grant}. Take it again after it ends.`);
  if (asked !== undefined && asked > emergency.for)
    throw new MeshpassError(
      'request_malformed',
      `In an emergency, ${grant} can be taken for at most ${emergency.for} seconds.`,
    );
  const identities = peopleOf(parts.live, access.trust)(identitiesOf(attestation));
  refuseMany(parts, { identities, issuer: attestation.issuer, subject: attestation.subject }, grant);
  const request = requestOf(attestation, {
    id: random(12).toString('hex'),
    sessionId: session.id,
    identities,
    grant,
    seconds: asked ?? emergency.for,
    reason,
    askedAt: now,
    answerBy: now,
    needed: approval.count,
    state: 'approved',
    emergency: { state: 'open', reviewBy: now + emergency.within, by: emergency.review, reviews: [] },
  });
  return { request, entry };
}

function notOffered(grant: string): MeshpassError {
  return new MeshpassError(
    'emergency_not_offered',
    `The access file does not allow you to take ${grant} in an emergency. Run meshpass requests to list the grants that you can take or request.`,
  );
}
