/** Queries GitHub about the teams and roles of a user. */

import { type Access, rolesMentioned, teamsDenied, teamsMentioned } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { memoize } from '@meshpass/identity/memory/memoize';
import { z } from 'zod';
import type { ReadGithub } from './api.ts';
import { encodePathSegment, type GithubUser, parseGithubResponse, teamPath } from './api.ts';

/** The memberships to query. */
export interface MembershipQuery {
  /** `ORG/SLUG` in lower case, or `ORG/#ID`. */
  readonly teams: readonly string[];
  /** `ORG/admin` and `ORG/member` in lower case. */
  readonly roles: readonly string[];
  /** Teams in the access file's deny list. */
  readonly denied: readonly string[];
}

export type Memberships = Pick<Attestation, 'teams' | 'notInTeams' | 'organizationRoles'>;

const Organization = z.object({ id: z.int().positive() });
const OrganizationMembership = z.object({
  state: z.string(),
  role: z.string().max(50),
  user: z.object({ id: z.int() }),
});
const TeamMembership = z.object({ state: z.string() });
const Account = z.object({ id: z.int(), login: z.string().min(1).max(100) });

/** Collects the teams and roles that an access file refers to. */
export function membershipQuery(access: Access): MembershipQuery {
  return { teams: teamsMentioned(access), roles: rolesMentioned(access), denied: teamsDenied(access) };
}

/**
 * Creates membership queries that are not cached. Each of them throws MeshpassError `issuer_unavailable` or
 * `issuer_rate_limited`.
 * @param organizationId returns an organization's id, or undefined if the organization may not be read. By default, the
 *   id of each organization is queried once.
 */
export function createMembershipQueries(
  read: ReadGithub,
  organizationId = memoize(async (organization: string): Promise<number | undefined> => {
    const part = encodePathSegment(organization);
    const answer = part && (await read(organization, `/orgs/${part}`));
    return answer ? parseGithubResponse(Organization, answer).id : undefined;
  }, new Map()),
) {
  const pathOf = (team: string) => teamPath(team, organizationId);
  const membership = async (organization: string, { login }: GithubUser) => {
    const parts = [encodePathSegment(organization), encodePathSegment(login)];
    if (parts.includes(undefined)) return undefined;
    const answer = await read(organization, `/orgs/${parts[0]}/memberships/${parts[1]}`);
    return answer && parseGithubResponse(OrganizationMembership, answer);
  };
  return {
    /** Returns a team's path in GitHub's API, or undefined if the slug is invalid or the organization is unknown. */
    teamPath: pathOf,
    /** Returns the membership of the account that currently has this login, or undefined if GitHub shows none. */
    membership,
    /** Returns a user's role (`admin`, `member` or another GitHub role), or undefined without an active membership. */
    roleIn: async (organization: string, user: GithubUser) => {
      const found = await membership(organization, user);
      return found?.state === 'active' && found.user.id === user.id ? found.role : undefined;
    },
    /** Whether the login is an active member of the team. Undefined if GitHub cannot be queried about it. */
    isInTeam: async (team: string, { login }: GithubUser) => {
      const [path, part] = [await pathOf(team), encodePathSegment(login)];
      if (path === undefined || part === undefined) return undefined;
      const answer = await read(organizationOf(team), `${path}/memberships/${part}`);
      return answer !== undefined && parseGithubResponse(TeamMembership, answer).state === 'active';
    },
    /** Whether the team exists and is visible to the caller. */
    hasTeam: async (team: string) => {
      const path = await pathOf(team);
      return path !== undefined && (await read(organizationOf(team), path)) !== undefined;
    },
    /** Whether the account still has this login. */
    hasLogin: async (organization: string, { id, login }: GithubUser) => {
      const answer = await read(organization, `/user/${id}`);
      const found = answer && parseGithubResponse(Account, answer);
      return found?.id === id && found.login.toLowerCase() === login.toLowerCase();
    },
  };
}

export type MembershipQueries = ReturnType<typeof createMembershipQueries>;

/**
 * Returns the memberships that GitHub currently confirms. An admin also counts as a member. The user is confirmed not
 * to be in a denied team only if GitHub shows that team.
 * @param queries if undefined, no memberships are confirmed
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function confirmMemberships(
  user: GithubUser,
  { teams, roles, denied }: MembershipQuery,
  queries: Pick<MembershipQueries, 'roleIn' | 'isInTeam' | 'hasTeam'> | undefined,
): Promise<Memberships> {
  if (!queries) return { teams: [] };
  const [inTeams, organizationRoles, notInTeams] = await Promise.all([
    filterAsync(teams, async (team) => (await queries.isInTeam(team, user)) === true),
    filterAsync(roles, async (role) => {
      const [organization, wanted] = role.split('/');
      const found = await queries.roleIn(organization!, user);
      // Billing managers are not members (GitHub, "Roles in an organization").
      return found === wanted || (wanted === 'member' && found === 'admin');
    }),
    filterAsync(denied, async (team) => !(await queries.isInTeam(team, user)) && (await queries.hasTeam(team))),
  ]);
  return {
    teams: inTeams,
    ...(organizationRoles.length > 0 && { organizationRoles }),
    ...(notInTeams.length > 0 && { notInTeams }),
  };
}

/** Returns the organization that a team or role belongs to. */
export function organizationOf(name: string): string {
  return name.split('/')[0]!;
}

/** Filters names with an asynchronous predicate. The predicate runs for all names in parallel. */
export async function filterAsync(
  names: readonly string[],
  isWanted: (name: string) => Promise<boolean>,
): Promise<string[]> {
  const wanted = await Promise.all(names.map(isWanted));
  return names.filter((_, index) => wanted[index]);
}
