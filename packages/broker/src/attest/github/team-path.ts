/** Where GitHub is asked about a team: by its slug, or by its id, which stays when the slug is renamed and goes to no other team. */
import { pathPart } from './api.ts';

/** As an access file names it by id: `ORG/#31`. No slug begins so. */
const BY_ID = /^([^/]+)\/#([1-9][0-9]*)$/;

/**
 * @param team `ORG/SLUG` or `ORG/#ID`, lower case
 * @param organizationId of the team's organization, asked for only where the team is named by id
 * @returns the team's path in GitHub's API; undefined where it is none, or the organization is not known
 */
export async function teamPath(
  team: string,
  organizationId: (organization: string) => Promise<number | undefined>,
): Promise<string | undefined> {
  const byId = BY_ID.exec(team);
  if (byId) {
    const id = await organizationId(byId[1]!);
    // https://docs.github.com/rest/teams/members, "You can also specify a team by org_id and team_id"
    return id === undefined ? undefined : `/organizations/${id}/team/${byId[2]}`;
  }
  const [organization = '', slug = ''] = team.split('/');
  const parts = [pathPart(organization), pathPart(slug)];
  return parts.includes(undefined) ? undefined : `/orgs/${parts[0]}/teams/${parts[1]}`;
}

export function isTeamById(team: string): boolean {
  return BY_ID.test(team);
}
