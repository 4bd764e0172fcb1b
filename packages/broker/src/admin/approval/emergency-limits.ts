/** Limits unreviewed emergencies, and bars people whose emergencies are overdue or rejected. */
import { MeshpassError } from '@meshpass/identity';
import type { Parts } from './parts.ts';
import { comparePeople, type Identity, peopleOf } from './people.ts';
import { type EmergencyRequest, isTaken, type Request } from './request.ts';

/** Maximum unreviewed emergencies per person, per grant and in total. */
const MOST_OF_PERSON = 2;
const MOST_OF_GRANT = 5;
const MOST = 200;

/** Person who uses a grant in an emergency. */
export interface Taker {
  readonly identities: readonly Identity[];
  readonly issuer: string;
  readonly subject: string;
}

type Context = Pick<Parts, 'book' | 'clock' | 'live' | 'mesh'>;

/**
 * Refuses emergency access beyond the limits.
 * @throws MeshpassError `emergency_barred`, `emergency_too_many`
 */
export function refuseMany(parts: Context, taker: Taker, grant: string): void {
  const why = barred(parts, taker);
  if (why !== undefined) throw new MeshpassError('emergency_barred', why);
  const taken = [...parts.book.all()].filter(isTaken);
  const open = taken.filter(({ emergency }) => emergency.state === 'open');
  const ofPerson = ownOf(parts, open, taker).length;
  if (ofPerson >= MOST_OF_PERSON)
    throw tooMany(`${ofPerson} of your emergencies are waiting for a review. Have one reviewed first.`);
  const ofGrant = open.filter((one) => one.grant === grant).length;
  if (ofGrant >= MOST_OF_GRANT || open.length >= MOST)
    throw tooMany(`Too many emergencies are waiting for a review. Have those for ${grant} reviewed first.`);
}

/**
 * Explains why a person is barred from emergency access now, and how to restore it. Returns undefined if the person is
 * not barred.
 */
export function barred(parts: Context, taker: Taker): string | undefined {
  const now = Math.floor(parts.clock() / 1000);
  const own = ownOf(parts, [...parts.book.all()].filter(isTaken), taker);
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
 * Whether the review deadline has passed.
 * @param now Unix seconds
 */
export function isOverdue({ emergency }: Request, now: number): boolean {
  return emergency?.state === 'overdue' || (emergency?.state === 'open' && emergency.reviewBy <= now);
}

/**
 * Returns the emergencies of the same person, including those of another account if a live session links the two
 * accounts now, or did so at the time.
 */
function ownOf(
  { live, mesh }: Context,
  taken: readonly EmergencyRequest[],
  { issuer, subject, identities }: Taker,
): readonly EmergencyRequest[] {
  if (taken.length === 0) return [];
  const known = peopleOf(live, mesh.access().trust)(identities);
  return taken.filter(
    (one) => (one.issuer === issuer && one.subject === subject) || comparePeople(one.identities, known) === 'same',
  );
}

function reviewerOf({ emergency }: Request): string {
  return emergency?.reviews.findLast(({ decision }) => decision === 'object')?.login ?? 'A reviewer';
}

function tooMany(message: string): MeshpassError {
  return new MeshpassError('emergency_too_many', message, { retryAfter: 60 });
}
