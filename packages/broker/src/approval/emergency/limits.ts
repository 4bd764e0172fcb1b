/** How many emergencies may wait for a review, and who may take none until theirs was reviewed. */
import { MeshpassError } from '@meshpass/identity';
import type { Parts } from '../parts.ts';
import { comparePeople, type Identity, peopleOf } from '../people.ts';
import { type EmergencyRequest, isTaken, type Request } from '../request.ts';

/** Emergencies without a review: of a person, of a grant, of all. */
const MOST_OF_PERSON = 2;
const MOST_OF_GRANT = 5;
const MOST = 200;

/** Whoever takes a grant. */
export interface Taker {
  readonly identities: readonly Identity[];
  readonly issuer: string;
  readonly subject: string;
}

type Context = Pick<Parts, 'book' | 'clock' | 'live' | 'mesh'>;

/** @throws MeshpassError `emergency_barred`, `emergency_too_many` */
export function refuseMany(parts: Context, taker: Taker, grant: string): void {
  const why = barred(parts, taker);
  if (why !== undefined) throw new MeshpassError('emergency_barred', why);
  const taken = [...parts.book.all()].filter(isTaken);
  const open = taken.filter(({ emergency }) => emergency.state === 'open');
  const ofPerson = ownOf(parts, open, taker).length;
  if (ofPerson >= MOST_OF_PERSON)
    throw tooMany(`${ofPerson} emergencies of yours wait for a review: have one reviewed first.`);
  const ofGrant = open.filter((one) => one.grant === grant).length;
  if (ofGrant >= MOST_OF_GRANT || open.length >= MOST)
    throw tooMany(`Too many emergencies wait for a review: have those of ${grant} reviewed first.`);
}

/** @returns why somebody may take nothing now, and what clears it; undefined where they may */
export function barred(parts: Context, taker: Taker): string | undefined {
  const now = Math.floor(parts.clock() / 1000);
  const own = ownOf(parts, [...parts.book.all()].filter(isTaken), taker);
  const objected = own.find(({ emergency }) => emergency.state === 'objected');
  if (objected)
    return (
      `${reviewerOf(objected)} objected to your emergency ${objected.id}: you can take no grant in an emergency until ` +
      `somebody who may review it accepts it: meshpass review ${objected.id} --accept`
    );
  const late = own.find((one) => isOverdue(one, now));
  return (
    late &&
    `Nobody reviewed your emergency ${late.id} in time: you can take no grant in an emergency until somebody who may ` +
      `review it does: meshpass review ${late.id}`
  );
}

export function isOverdue({ emergency }: Request, now: number): boolean {
  return emergency?.state === 'overdue' || (emergency?.state === 'open' && emergency.reviewBy <= now);
}

/** Those of the same person, also by another account, where a live session shows that both are theirs, or one did when it was taken. */
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
  return emergency?.reviews.findLast(({ decision }) => decision === 'object')?.login ?? 'Somebody';
}

function tooMany(message: string): MeshpassError {
  return new MeshpassError('emergency_too_many', message, { retryAfter: 60 });
}
