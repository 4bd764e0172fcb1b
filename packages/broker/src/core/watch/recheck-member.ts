/**
 * Checks whether GitHub still lists the memberships of a single developer that a session depends on. A "not found"
 * response may also mean that the login now belongs to another user, or that the App may not read members. So a missing
 * membership counts only if GitHub shows the same account in the organization, or confirms both that the account still
 * has this login and that the organization has members.
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
  /** Organization that the access file trusts, lower case. */
  readonly trusted: string | undefined;
  /** Whether a member list of the trusted organization contained this user. */
  readonly wasMember: (id: number) => boolean;
}

/**
 * Rechecks a developer's memberships in one organization.
 * @param organization lower case. Memberships in other organizations are not queried.
 * @returns whether the session lost anything
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckMember(options: RecheckMemberOptions, live: Live, organization: string): Promise<boolean> {
  const { read, sessions, trusted } = options;
  const { session: before } = live;
  const { githubUser: user, teams } = before.attestation;
  const org = encodePathSegment(organization);
  if (!user || !org || !encodePathSegment(user.login)) return false;
  const queries = createMembershipQueries(read);
  const isTrulyAbsent = async () => {
    const [hasLogin, members] = await Promise.all([
      queries.hasLogin(organization, user),
      read(organization, `/orgs/${org}/members?per_page=1`),
    ]);
    return hasLogin && members !== undefined && parseGithubResponse(SomeMembers, members).length > 0;
  };
  const [found, ...inTeams] = await Promise.all([
    queries.membership(organization, user),
    ...teams
      .filter((team) => organizationOf(team) === organization)
      .map(async (team) => ({ team, isIn: await queries.isInTeam(team, user) })),
  ]);
  // The login may now belong to another user. The sweep handles that case, because it compares ids.
  if (found ? found.user.id !== user.id : !(await isTrulyAbsent())) return false;

  const role = found?.state === 'active' ? found.role : undefined;
  const ends = organization === trusted && dependsOnMembership(live, organization, options.wasMember);
  if (role === undefined && ends) onLeftOrganization(sessions, live, organization);
  if (!live.ended) onRoleChanged(sessions, live, organization, role);
  for (const { team, isIn } of inTeams) if (isIn === false && !live.ended) onLeftTeam(sessions, live, team);
  return live.ended !== undefined || live.session !== before;
}
