/** Describes entries of `who`, `except` and `deny` as text. */
import type { SignedIn, Who } from '../model.ts';

/**
 * Describes an entry, without its place.
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
