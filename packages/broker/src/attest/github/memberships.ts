/** Confirms which of an access file's teams and roles a user currently has in GitHub. */

import { type Access, rolesMentioned, teamsDenied, teamsMentioned } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { GithubUser } from './api.ts';
import type { GithubApp } from './app.ts';

export interface MembershipQuery {
  /** `ORG/SLUG` in lower case, or `ORG/#ID`. */
  readonly teams: readonly string[];
  /** `ORG/admin` and `ORG/member` in lower case. */
  readonly roles: readonly string[];
  /** Teams whose members are denied something. Defaults to none. */
  readonly denied?: readonly string[];
}

export type Memberships = Pick<Attestation, 'teams' | 'notInTeams' | 'organizationRoles'>;

/** Collects the teams and roles that an access file mentions. */
export function membershipQuery(access: Access): MembershipQuery {
  return { teams: teamsMentioned(access), roles: rolesMentioned(access), denied: teamsDenied(access) };
}

/**
 * Queries a user's memberships.
 * @param app if undefined, nothing is confirmed
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function confirmMemberships(
  user: GithubUser,
  { teams, roles, denied = [] }: MembershipQuery,
  app: GithubApp | undefined,
): Promise<Memberships> {
  if (!app) return { teams: [] };
  const [inTeams, organizationRoles, notInTeams] = await Promise.all([
    app.teamsOf(user, teams),
    app.rolesOf(user, roles),
    app.teamsWithout(user, denied),
  ]);
  return {
    teams: inTeams,
    ...(organizationRoles.length > 0 && { organizationRoles }),
    ...(notInTeams.length > 0 && { notInTeams }),
  };
}
