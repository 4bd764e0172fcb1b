/** A session takes a grant in an emergency: at once, without an approval, for a short time. Somebody else reviews it afterwards. */
import { approverEntry, isPerson } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { EmergencyOrder } from '@meshpass/identity/approval';
import { type Outcome, refused } from '../../audit/log/decision.ts';
import type { AuditEvent } from '../../audit/log/event.ts';
import { seconds } from '../../clock/clock.ts';
import { settledAttestation } from '../../session/drop-lost.ts';
import type { Live } from '../../session/live.ts';
import type { Parts } from '../parts.ts';
import { identitiesOf, peopleOf } from '../people.ts';
import type { Request } from '../request.ts';
import { refuseMany } from './limits.ts';

/**
 * Gives the grant, and writes that it is to be reviewed, in one transaction. One at a time, of all.
 * @returns refused with `emergency_not_offered`, `emergency_barred`, `emergency_too_many`, `approval_open`, `request_malformed`,
 *   `access_none`, `session_closed`, `store_unavailable`
 */
export async function takeInEmergency(
  parts: Parts,
  live: Live,
  order: EmergencyOrder,
  event: AuditEvent,
): Promise<Outcome<Request>> {
  try {
    const { request, entry } = newEmergency(parts, live, order);
    const { id, grant, seconds: wanted, askedAt } = request;
    const taken = { ...event, target: id, reason: order.reason };
    const detail = { seconds: wanted, review_by: request.emergency?.reviewBy, entry };
    return await parts.book.decideWith(
      taken,
      (until) => ({ event: { ...taken, detail: { ...detail, until } }, request: { ...request, until } }),
      (decided) =>
        parts.give(live, grant, {
          ...{ cause: 'emergency', until: askedAt + wanted, reason: `taken in an emergency: ${order.reason}` },
          ...{ detail: { request: id, decision: event.id }, decided },
        }),
    );
  } catch (thrown) {
    return refused(event, thrown);
  }
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
  if (session.grants.some(({ name }) => name === grant))
    throw new MeshpassError('approval_open', `You have ${grant} already; take it again when it has ended.`);
  if (asked !== undefined && asked > emergency.for)
    throw new MeshpassError(
      'request_malformed',
      `In an emergency ${grant} is given for ${emergency.for} seconds at most.`,
    );
  const identities = peopleOf(parts.live, access.trust)(identitiesOf(attestation));
  refuseMany(parts, { identities, issuer: attestation.issuer, subject: attestation.subject }, grant);
  const { issuer, subject, login, workspace } = attestation;
  const request: Request = {
    ...{ id: random(12).toString('hex'), sessionId: session.id, issuer, subject, login, workspace: workspace.key },
    ...{ identities, grant, seconds: asked ?? emergency.for, reason },
    ...{ askedAt: now, answerBy: now, needed: approval.count, state: 'approved', answers: [] },
    emergency: { state: 'open', reviewBy: now + emergency.within, by: emergency.review, reviews: [] },
  };
  return { request, entry };
}

function notOffered(grant: string): MeshpassError {
  return new MeshpassError(
    'emergency_not_offered',
    `The access file does not let you take ${grant} in an emergency: meshpass requests lists what you can take, and ask for.`,
  );
}
