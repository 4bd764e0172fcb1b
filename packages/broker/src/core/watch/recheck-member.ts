/**
 * Checks whether GitHub still lists the memberships of a single developer that a session depends on. A "not found"
 * response may also mean that the login now belongs to another user, or that the App is not allowed to read members. A
 * missing membership therefore only counts if the account is missing from the organization's member list as well, or if
 * GitHub confirms both that the account still has this login and that the organization has members. If the account is
 * still a member of the organization, a single "not found" response is enough for a team.
 */

import { z } from 'zod';
import {
  createMembershipQueries,
  encodePathSegment,
  organizationOf,
  parseGithubResponse,
  type ReadGithub,
} from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { dependsOnMembership, onLeftOrganization, onLeftTeam, onRoleChanged } from './membership.ts';

const SomeMembers = z.array(z.object({ id: z.int().positive() }));

export interface RecheckMemberOptions {
  readonly read: ReadGithub;
  readonly sessions: SessionContext;
  /** The organization that the access file trusts, in lower case. */
  readonly trusted: string | undefined;
  /** Returns whether a member list of the trusted organization contained this user. */
  readonly wasMember: (id: number) => boolean;
}

/** The lists of an organization that a sweep has just read. */
export interface Listed {
  /** The logins of all members, keyed by user id. */
  readonly members: ReadonlyMap<number, string>;
  /**
   * The session's teams in the organization whose member lists do not include the developer. No other teams are
   * queried.
   */
  readonly teams: readonly string[];
}

/**
 * Rechecks a developer's memberships in a single organization.
 * @param organization the organization's login in lower case. Memberships in other organizations are not queried.
 * @returns whether the session lost anything
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckMember(
  { read, sessions, trusted, wasMember }: RecheckMemberOptions,
  live: Live,
  organization: string,
  listed?: Listed,
): Promise<boolean> {
  const { session: before } = live;
  const { githubUser, teams } = before.attestation;
  const org = encodePathSegment(organization);
  if (!githubUser || !org) return false;
  // Prefer the login in the list, because logins can change.
  const user = { ...githubUser, login: listed?.members.get(githubUser.id) ?? githubUser.login };
  if (!encodePathSegment(user.login)) return false;
  const queries = createMembershipQueries(read);
  const isTrulyAbsent = async () => {
    const answers = [queries.hasLogin(organization, user), hasMembers(read, organization, org)];
    return (await Promise.all(answers)).every(Boolean);
  };
  const asked = listed?.teams ?? teams.filter((team) => organizationOf(team) === organization);
  const [found, ...inTeams] = await Promise.all([
    queries.membership(organization, user),
    ...asked.map(async (team) => ({ team, isIn: await queries.isInTeam(team, user) })),
  ]);
  const isSame = found?.user.id === user.id;
  // The lists of a sweep are the second evidence.
  if (!isSame && !listed && !(await isTrulyAbsent())) return false;

  const role = isSame && found.state === 'active' ? found.role : undefined;
  const isListed = listed?.members.has(user.id) ?? false;
  const ends = !isListed && organization === trusted && dependsOnMembership(live, organization, wasMember);
  if (role === undefined && ends) onLeftOrganization(sessions, live, organization);
  if (!live.ended) onRoleChanged(sessions, live, organization, role);
  for (const { team, isIn } of inTeams) if (isIn === false && !live.ended) onLeftTeam(sessions, live, team);
  return live.ended !== undefined || live.session !== before;
}

async function hasMembers(read: ReadGithub, organization: string, part: string): Promise<boolean> {
  const members = await read(organization, `/orgs/${part}/members?per_page=1`);
  return members !== undefined && parseGithubResponse(SomeMembers, members).length > 0;
}
