/** How many emergencies may wait for a review, and who may take none until theirs was reviewed. */
import { MeshpassError } from '@meshpass/identity';
import type { Parts } from '../parts.ts';
import { comparePeople, type Identity } from '../people.ts';
import type { Request } from '../request.ts';

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

/** @throws MeshpassError `emergency_barred`, `emergency_too_many` */
export function refuseMany(parts: Pick<Parts, 'book' | 'clock'>, taker: Taker, grant: string): void {
  const why = barred(parts, taker);
  if (why !== undefined) throw new MeshpassError('emergency_barred', why);
  const open = [...parts.book.all()].filter(({ emergency }) => emergency?.state === 'open');
  const ofPerson = open.filter((one) => isOf(one, taker)).length;
  if (ofPerson >= MOST_OF_PERSON)
    throw tooMany(`${ofPerson} emergencies of yours wait for a review: have one reviewed first.`);
  const ofGrant = open.filter((one) => one.grant === grant).length;
  if (ofGrant >= MOST_OF_GRANT || open.length >= MOST)
    throw tooMany(`Too many emergencies wait for a review: have those of ${grant} reviewed first.`);
}

/** @returns why somebody may take nothing now, and what clears it; undefined where they may */
export function barred({ book, clock }: Pick<Parts, 'book' | 'clock'>, taker: Taker): string | undefined {
  const now = Math.floor(clock() / 1000);
  const own = [...book.all()].filter((one) => one.emergency && isOf(one, taker));
  const objected = own.find(({ emergency }) => emergency?.state === 'objected');
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

/** Also by another account, where an issuer has confirmed both. */
function isOf({ issuer, subject, identities }: Request, taker: Taker): boolean {
  return (
    (issuer === taker.issuer && subject === taker.subject) || comparePeople(identities, taker.identities) === 'same'
  );
}

function reviewerOf({ emergency }: Request): string {
  return emergency?.reviews.findLast(({ decision }) => decision === 'object')?.login ?? 'Somebody';
}

function tooMany(message: string): MeshpassError {
  return new MeshpassError('emergency_too_many', message, { retryAfter: 60 });
}
