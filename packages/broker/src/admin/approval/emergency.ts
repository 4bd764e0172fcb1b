/**
 * Emergency access adds a grant to a session immediately and for a short time, without an approval. Another person has
 * to review it afterwards. The number of unreviewed emergencies is limited, and a person is barred from emergency
 * access while one of their emergencies is overdue for review or after a reviewer has objected to one.
 */
import { approverEntry, isPerson } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { EmergencyAccessBody } from '@meshpass/identity/approval';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { type Live, principalUnder, settledAttestation } from '../../core/index.ts';
import type { ApprovalParts } from './parts.ts';
import { comparePeople, createIdentityLinker, identitiesOf } from './people.ts';
import { buildRequest, type EmergencyRequest, type GrantRequest, isEmergencyRequest } from './request.ts';

/**
 * Adds the grant to the session and, in the same transaction, records that a review is required. Calls must not
 * overlap.
 * @throws MeshpassError `emergency_not_offered`, `emergency_barred`, `emergency_too_many`, `approval_open`,
 *   `request_malformed`, `access_none`, `session_closed`, `store_unavailable`
 */
export async function activateEmergencyGrant(
  parts: ApprovalParts,
  live: Live,
  { grant, seconds: asked, reason }: EmergencyAccessBody,
  event: AuditEvent,
): Promise<GrantRequest> {
  const { mesh, authorize, clock, random, losses } = parts;
  const access = mesh.access();
  const now = toUnixSeconds(clock);
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
  refuseMany(parts, attestation, grant);
  const seconds = asked ?? emergency.for;
  const reviewBy = now + emergency.within;
  const request = buildRequest(attestation, {
    id: random(12).toString('hex'),
    session: session.id,
    identities: linkedIdentities(parts, attestation),
    grant,
    seconds,
    reason,
    asked_at: now,
    answer_by: now,
    needed: approval.count,
    state: 'approved',
    emergency: { state: 'open', reviewBy, by: emergency.review, reviews: [] },
  });
  annotateEvent(event, { target: request.id, reason, detail: { seconds, review_by: reviewBy, entry } });
  return await parts.book.decideWith(event, request, (decided) =>
    parts.give(live, grant, {
      cause: 'emergency',
      until: now + seconds,
      reason: `taken in an emergency: ${reason}`,
      detail: { request: request.id, decision: event.id },
      decided,
    }),
  );
}

function notOffered(grant: string): MeshpassError {
  return new MeshpassError(
    'emergency_not_offered',
    `The access file does not allow you to take ${grant} in an emergency. Run meshpass requests to list the grants that you can take or request.`,
  );
}

/** The maximum number of unreviewed emergencies per person, per grant and in total. */
const MOST_OF_PERSON = 2;
const MOST_OF_GRANT = 5;
const MOST = 200;

type Context = Pick<ApprovalParts, 'book' | 'clock' | 'live' | 'mesh'>;

/**
 * Rejects the emergency if the person is barred or a limit has been reached.
 * @throws MeshpassError `emergency_barred`, `emergency_too_many`
 */
function refuseMany(parts: Context, taker: Attestation, grant: string): void {
  const why = emergencyBarReason(parts, taker);
  if (why !== undefined) throw new MeshpassError('emergency_barred', why);
  const open = [...parts.book.all()].filter(({ emergency }) => emergency?.state === 'open');
  const ofPerson = ownOf(parts, taker).filter(({ emergency }) => emergency.state === 'open').length;
  if (ofPerson >= MOST_OF_PERSON)
    throw tooMany(`${ofPerson} of your emergencies are waiting for a review. Have one reviewed first.`);
  const ofGrant = open.filter((one) => one.grant === grant).length;
  if (ofGrant >= MOST_OF_GRANT || open.length >= MOST)
    throw tooMany(`Too many emergencies are waiting for a review. Have those for ${grant} reviewed first.`);
}

/**
 * Explains why a person is barred from emergency access and how they can regain it. Returns undefined if they are not
 * barred.
 */
export function emergencyBarReason(parts: Context, taker: Attestation): string | undefined {
  const now = toUnixSeconds(parts.clock);
  const own = ownOf(parts, taker);
  const objected = own.find(({ emergency }) => emergency.state === 'objected');
  if (objected)
    return (
      `${reviewerOf(objected)} objected to your emergency ${objected.id}. You cannot take a grant in an emergency until ` +
      `a reviewer accepts it: meshpass review ${objected.id} --accept`
    );
  const late = own.find((one) => isOverdue(one, now));
  return (
    late &&
    `Your emergency ${late.id} was not reviewed in time. You cannot take a grant in an emergency until ` +
      `a reviewer has reviewed it: meshpass review ${late.id}`
  );
}

/**
 * Whether the deadline for reviewing the emergency has passed.
 * @param now the current time in Unix seconds
 */
export function isOverdue({ emergency }: GrantRequest, now: number): boolean {
  return emergency?.state === 'overdue' || (emergency?.state === 'open' && emergency.reviewBy <= now);
}

/**
 * Returns the person's emergencies. Emergencies of another account are included if a live session links the two
 * accounts now, or linked them at the time.
 */
function ownOf(parts: Context, taker: Attestation): readonly EmergencyRequest[] {
  const taken = [...parts.book.all()].filter(isEmergencyRequest);
  if (taken.length === 0) return [];
  const { issuer, subject } = taker;
  const known = linkedIdentities(parts, taker);
  return taken.filter(
    ({ person, identities }) =>
      (person.issuer === issuer && person.subject === subject) || comparePeople(identities, known) === 'same',
  );
}

function linkedIdentities({ live, mesh }: Context, taker: Attestation) {
  return createIdentityLinker(live, mesh.access().trust)(identitiesOf(taker));
}

function reviewerOf({ emergency }: GrantRequest): string {
  return emergency?.reviews.findLast(({ decision }) => decision === 'object')?.login ?? 'A reviewer';
}

function tooMany(message: string): MeshpassError {
  return new MeshpassError('emergency_too_many', message, { retryAfter: 60 });
}
