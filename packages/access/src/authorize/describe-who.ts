/** Entries of `who`, `except` and `deny` in words. */
import type { SignedIn, Who } from '../model.ts';

/**
 * An entry in words, without its place.
 * @example
 * ```ts
 * import { describeWho } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * describeWho({ team: 'acme/payments', repository: 'acme/payments-*', place }); // => 'team acme/payments, repository acme/payments-*'
 * ```
 */
export function describeWho(who: Who): string {
  const { user, userId, team, teamId, role, repository, repositoryId, ref, environment, issuer, claims, when } = who;
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
    ...Object.entries(claims ?? {}).map(([name, values]) => `claim ${name} ${values.join(' or ')}`),
    ...(when === undefined ? [] : [`when ${when}`]),
    ...(who.signedIn ? [describeSignedIn(who.signedIn)] : []),
  ].join(', ');
}

function describeSignedIn({ issuer, claims, when, maxAge, amr }: SignedIn): string {
  const demands = [
    ...Object.entries(claims ?? {}).map(([name, values]) => `claim ${name} ${values.join(' or ')}`),
    ...(when === undefined ? [] : [`when ${when}`]),
    ...(maxAge === undefined ? [] : [`for ${maxAge} seconds at most`]),
    ...(amr === undefined ? [] : [`by ${amr.join(' and ')}`]),
  ];
  return `signed in at ${issuer}${demands.length > 0 ? ` (${demands.join(', ')})` : ''}`;
}
