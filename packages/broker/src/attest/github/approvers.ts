/**
 * Reads an approver's teams and roles from GitHub when the decision is made, because earlier data may be out of date.
 */
import type { Access, Approval } from '@meshpass/access';
import { type Attestation, memoize } from '@meshpass/identity';
import type { ReadGithub } from './api.ts';
import { attestationFacts, type Losses, withoutFacts } from './losses.ts';
import {
  confirmMemberships,
  createMembershipQueries,
  filterAsync,
  type MembershipQuery,
  organizationOf,
} from './memberships.ts';

/**
 * Returns the teams and roles that determine whether a user may approve a request. These are the ones in the grant's
 * `by` list and in the access file's deny list.
 */
export function approverMemberships(by: Approval['by'], deny: Access['deny'] = []): MembershipQuery {
  return {
    teams: unique(by.flatMap(({ team, teamId }) => teamName(team, teamId)?.toLowerCase() ?? [])),
    roles: unique(by.flatMap(({ role }) => role?.toLowerCase() ?? [])),
    denied: unique(deny.flatMap(({ team, teamId }) => teamName(team, teamId) ?? [])),
  };
}

/**
 * Replaces the teams and roles in an attestation with those that GitHub currently confirms, and adds the denied teams
 * that the account is known not to belong to. Memberships are confirmed for the account's ID, because its login may
 * belong to another account by now.
 * @param read reads from GitHub, or undefined if GitHub cannot be queried. In that case, the account is not considered
 *   a member of any team, but it may be in any denied team.
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function withFreshMemberships(
  attestation: Attestation,
  query: MembershipQuery,
  read: ReadGithub | undefined,
  losses: Losses,
): Promise<Attestation> {
  const { organizationRoles: _, notInTeams: __, ...rest } = attestation;
  const { githubUser: user } = attestation;
  if (!user || !read) return { ...rest, teams: [] };
  const queries = createMembershipQueries(read);
  const role = memoize((organization: string) => queries.roleIn(organization, user), new Map());
  const isMember = async (team: string) => (await role(organizationOf(team))) !== undefined;
  const { teams, ...memberships } = await confirmMemberships(user, query, {
    ...queries,
    roleIn: role,
    hasTeam: async (team) =>
      (await queries.hasTeam(team)) && ((await isMember(team)) || (await queries.hasLogin(organizationOf(team), user))),
  });
  const fresh = { ...rest, ...memberships, teams: await filterAsync(teams, isMember) };
  return withoutFacts(fresh, attestationFacts(fresh).filter(losses.isUnsettled));
}

/** Returns the name of a team in the form used in attestations. */
function teamName(team: string | undefined, teamId: number | undefined): string | undefined {
  return team === undefined || teamId === undefined ? team : `${team.split('/')[0]}/#${teamId}`;
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)];
}
