/** Describes entries of `who`, `except` and `deny` in words. */

import { formatDuration } from '@meshpass/identity';
import type { Approval, Emergency, SignedIn, Who } from '../model.ts';

/**
 * Describes an entry in words, without its place in the file.
 * @example
 * ```ts
 * import { describeWho } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * describeWho({ team: 'acme/payments', repository: 'acme/payments-*', place }); // => 'team acme/payments, repository acme/payments-*'
 * ```
 */
export function describeWho(who: Omit<Who, 'place'> & Partial<Pick<Who, 'place'>>): string {
  const { user, userId, team, teamId, role, repository, repositoryId, ref, environment, issuer } = who;
  const named = {
    user,
    'user id': userId,
    team,
    'team id': teamId,
    role,
    repository,
    'repository id': repositoryId,
    ref,
    environment,
  };
  const members = Object.entries({ ...named, issuer }).filter(([, value]) => value !== undefined);
  return [
    ...members.map(([name, value]) => `${name} ${value}`),
    ...describeClaims(who),
    ...(who.signedIn ? [describeSignedIn(who.signedIn)] : []),
  ].join(', ');
}

function describeSignedIn({ issuer, maxAge, amr, ...who }: SignedIn): string {
  const demands = [
    ...describeClaims(who),
    ...(maxAge === undefined ? [] : [`within the last ${maxAge} seconds`]),
    ...(amr === undefined ? [] : [`using ${amr.join(' and ')}`]),
  ];
  return `signed in at ${issuer}${demands.length > 0 ? ` (${demands.join(', ')})` : ''}`;
}

function describeClaims({ claims = {}, when }: Pick<Who, 'claims' | 'when'>): readonly string[] {
  const demands = Object.entries(claims).map(([name, values]) => `claim ${name} ${values.join(' or ')}`);
  return when === undefined ? demands : [...demands, `when ${when}`];
}

// Descriptions of approvals and emergency access.

/**
 * Describes who has to approve a request and how long the approval is valid.
 * @param room the maximum number of characters for the list of people. Those who do not fit are counted instead
 * @example
 * ```ts
 * import { describeApproval } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const approval = { place, by: [{ team: 'acme/leads', place }], for: 3600, max: 7200, count: 2, reason: 'required' } as const;
 * describeApproval(approval); // => 'approval by team acme/leads (2 people), at most 2h'
 * ```
 */
export function describeApproval({ by, count, max, emergency }: Approval, room = Number.POSITIVE_INFINITY): string {
  const without = emergency ? `; emergency use without approval: ${describeEmergency(emergency, room)}` : '';
  return `approval by ${anyOf(by, room)}${count > 1 ? ` (${count} people)` : ''}, at most ${formatDuration(max)}${without}`;
}

/**
 * Describes who can use a grant without approval, for how long, and who has to review it by when.
 * @param room the maximum number of characters for each list of people
 * @example
 * ```ts
 * import { describeEmergency } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const review = [{ team: 'acme/leads', place }];
 * describeEmergency({ for: 1800, review, within: 86_400 }); // => 'by anyone who may request it, at most 30m, reviewed within 24h by team acme/leads'
 * ```
 */
export function describeEmergency(
  { who, review, within, for: longest }: Omit<Emergency, 'place'>,
  room = Number.POSITIVE_INFINITY,
): string {
  const bounds = describeEmergencyBounds({ review, within, for: longest }, room);
  return `by ${who ? anyOf(who, room) : 'anyone who may request it'}, ${bounds}`;
}

/**
 * Describes the limits of emergency access, but not the people who may use it.
 * @param room the maximum number of characters for the list of people. Those who do not fit are counted instead
 * @example
 * ```ts
 * import { describeEmergencyBounds } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * const review = [{ team: 'acme/leads', place }];
 * describeEmergencyBounds({ for: 1800, review, within: 86_400 }); // => 'at most 30m, reviewed within 24h by team acme/leads'
 * ```
 */
export function describeEmergencyBounds(
  emergency: Pick<Emergency, 'for' | 'review' | 'within'>,
  room = Number.POSITIVE_INFINITY,
): string {
  const { for: longest, review, within } = emergency;
  return `at most ${formatDuration(longest)}, reviewed within ${formatDuration(within)} by ${anyOf(review, room)}`;
}

function anyOf(people: readonly Who[], room = Number.POSITIVE_INFINITY): string {
  const all = people.map(describeWho);
  let named = '';
  let text = 'people in the access file';
  for (const [index, one] of all.entries()) {
    named += `${index > 0 ? ' or ' : ''}${one}`;
    if (named.length > room) break;
    const left = all.length - index - 1;
    const shown = `${named}${left > 0 ? ` ... and ${left} more` : ''}`;
    if (shown.length <= room) text = shown;
  }
  return text;
}
