/**
 * Watches the organizations, teams and roles that live sessions depend on, and ends sessions and grants of developers
 * who are no longer members. A sweep reads the lists of members, which costs one request per hundred members, or
 * nothing if a list has not changed. Before anything ends, each developer who is missing from a list is queried
 * individually, and so is each developer whom an event concerns (see audit-event-handler.ts).
 *
 * A "not found" response to such a query may also mean that the login now belongs to another user, or that the App is
 * not allowed to read members. A missing membership therefore only counts if the account is missing from the
 * organization's member list as well, or if GitHub confirms both that the account still has this login and that the
 * organization has members. If the account is still a member of the organization, a single "not found" response is
 * enough for a team.
 */

import { z } from 'zod';
import {
  createMembershipQueries,
  encodePathSegment,
  type Fact,
  organizationOf,
  parseGithubResponse,
  type ReadGithub,
} from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { loseFacts, touch } from '../session/touch.ts';
import { type CachedPages, readListing } from './read-pages.ts';
import { isSettled } from './rechecks.ts';

const Member = z.object({ id: z.int().positive(), login: z.string().min(1).max(100) });
const MemberPage = z
  .array(Member)
  .max(100)
  .transform((items) => ({ items }));
const SomeMembers = z.array(z.object({ id: z.int().positive() }));
/**
 * The maximum number of sessions whose developers are queried individually per round, for each of two reasons: they are
 * missing from a list, or no list includes their role. The others wait for the next round.
 */
const MAX_CONFIRMED = 50;

/** The lists of an organization that a sweep has just read. */
interface Listed {
  /** The logins of all members, keyed by user id. */
  readonly members: ReadonlyMap<number, string>;
  /**
   * The session's teams in the organization whose member lists do not include the developer. No other teams are
   * queried.
   */
  readonly teams: readonly string[];
}

/** The watch of memberships. */
export type MemberWatch = ReturnType<typeof createMemberWatch>;

/** Creates the watch of memberships. Organizations are identified by their login in lower case. */
export function createMemberWatch(sessions: SessionContext) {
  const cachedPages = new Map<string, CachedPages<z.infer<typeof Member>>>();
  /** The ids of the users in the trusted organization's previous member list. */
  let wereMembers: ReadonlySet<number> = new Set();
  /** When each session's role was last queried, in Unix milliseconds. */
  const rolesAskedAt = new WeakMap<Live, number>();

  /** Returns the listed logins, keyed by user id, or undefined if the list does not exist or is inconsistent. */
  const list = async (read: ReadGithub, organization: string, path: string) => {
    const pages = cachedPages.get(path) ?? new Map();
    cachedPages.set(path, pages);
    const listing = await readListing({ read, organization, path, schema: MemberPage, cachedPages: pages });
    return listing?.consistent ? new Map(listing.items.map((member) => [member.id, member.login])) : undefined;
  };

  /** Whether a session ends when its developer leaves the organization. */
  const endsWithout = ({ session: { attestation } }: Live, organization: string, trusted: string | undefined) => {
    const { attestor, githubUser, claims } = attestation;
    if (organization !== trusted || attestor !== 'github-codespace' || !githubUser) return false;
    // If another account pays for the Codespace, the Codespace is trusted only because its developer is a member.
    return wereMembers.has(githubUser.id) || String(claims.billable_owner).toLowerCase() !== organization;
  };

  /**
   * Rechecks a developer's memberships in a single organization, and removes the access that depends on lost ones.
   * @param trusted the organization that the access file trusts
   * @param organization Memberships in other organizations are not queried.
   * @returns whether the session has lost anything or has ended, so that the query need not be repeated
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
   */
  const recheck = async (
    read: ReadGithub,
    trusted: string | undefined,
    live: Live,
    organization: string,
    listed?: Listed,
  ): Promise<boolean> => {
    const lost = await lostMemberships(read, live, organization, endsWithout(live, organization, trusted), listed);
    // If the session has ended since the query was sent, the answer says nothing about a later session of the
    // developer.
    if (live.ended) return true;
    if (lost.length === 0) return false;
    const hasLeft = lost.some(({ kind }) => kind === 'member');
    loseFacts(sessions, live, lost, hasLeft ? { cause: 'membership_lost', detail: { left: organization } } : undefined);
    // The developer's other sessions may depend on the same memberships.
    const userId = live.session.attestation.githubUser?.id;
    for (const other of sessions.live.all())
      if (other.session.attestation.githubUser?.id === userId) touch(sessions, other).catch(sessions.onFailure);
    return true;
  };

  return {
    recheck,
    /**
     * Runs a single sweep.
     * @param trusted the organization that the access file trusts, or undefined if it does not trust Codespaces
     * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`. Anything that was not checked is left to the
     *   next sweep.
     */
    async sweep(read: ReadGithub, trusted: string | undefined) {
      const askedAt = sessions.clock();
      const candidates = [...sessions.live.all()].filter(
        ({ session, ended }) => !ended && session.attestation.githubUser && isSettled(session, askedAt),
      );
      const teams = new Set(candidates.flatMap(({ session }) => session.attestation.teams));
      const roles = candidates.flatMap(({ session }) => session.attestation.organizationRoles ?? []);
      const organizations = new Set([...teams, ...roles].map(organizationOf));
      const isCodespace = ({ session }: Live) => session.attestation.attestor === 'github-codespace';
      if (trusted !== undefined && candidates.some(isCodespace)) organizations.add(trusted);
      const left = { missing: MAX_CONFIRMED, roles: MAX_CONFIRMED };
      const queries = createMembershipQueries(read);
      for (const organization of organizations) {
        const org = encodePathSegment(organization);
        const members = org && (await list(read, organization, `/orgs/${org}/members`));
        // GitHub also responds with 404 if the App is not allowed to read members, so a missing list proves nothing.
        if (!members || members.size === 0) continue;
        const recheckListed = async (live: Live, lacking: readonly string[], reason: keyof typeof left = 'missing') => {
          if (live.ended || left[reason]-- <= 0) return;
          await recheck(read, trusted, live, organization, { members, teams: lacking });
        };
        const rolesIn = ({ session }: Live) =>
          (session.attestation.organizationRoles ?? []).filter((role) => organizationOf(role) === organization);
        const isMember = ({ session }: Live) => members.has(session.attestation.githubUser!.id);
        for (const live of candidates.filter((one) => !isMember(one)))
          if (rolesIn(live).length > 0 || endsWithout(live, organization, trusted)) await recheckListed(live, []);
        // Member lists do not include roles, so the users whose sessions depend on one are queried individually.
        const admins = candidates.filter(
          (live) => isMember(live) && rolesIn(live).some((role) => role.endsWith('/admin')),
        );
        admins.sort((a, b) => (rolesAskedAt.get(a) ?? 0) - (rolesAskedAt.get(b) ?? 0));
        for (const live of admins) {
          if (left.roles > 0) rolesAskedAt.set(live, askedAt);
          await recheckListed(live, [], 'roles');
        }
        if (organization === trusted) wereMembers = new Set(members.keys());
        // The team lists come last, because a list that cannot be read ends the sweep.
        for (const team of teams) {
          const path = organizationOf(team) === organization ? await queries.teamPath(team) : undefined;
          if (path === undefined) continue;
          // If a team has been deleted, it has no list, and therefore no members.
          const inTeam = await list(read, organization, `${path}/members`);
          for (const live of candidates) {
            const { githubUser, teams: held } = live.session.attestation;
            if (held.includes(team) && !inTeam?.has(githubUser!.id)) await recheckListed(live, [team]);
          }
        }
      }
    },
  };
}

/**
 * Returns the memberships of a session in an organization that GitHub no longer confirms.
 * @param isRequired whether the session ends without the membership in the organization itself
 */
async function lostMemberships(
  read: ReadGithub,
  { session }: Live,
  organization: string,
  isRequired: boolean,
  listed: Listed | undefined,
): Promise<readonly Fact[]> {
  const { githubUser, teams, organizationRoles = [] } = session.attestation;
  const org = encodePathSegment(organization);
  if (!githubUser || !org) return [];
  // Prefer the login in the list, because logins can change.
  const user = { ...githubUser, login: listed?.members.get(githubUser.id) ?? githubUser.login };
  if (!encodePathSegment(user.login)) return [];
  const queries = createMembershipQueries(read);
  const asked = listed?.teams ?? teams.filter((team) => organizationOf(team) === organization);
  const [found, ...inTeams] = await Promise.all([
    queries.membership(organization, user),
    ...asked.map(async (team) => ({ team, isIn: await queries.isInTeam(team, user) })),
  ]);
  const isSame = found?.user.id === user.id;
  if (!isSame && !listed) {
    // The lists of a sweep are the second evidence. Without them, query GitHub for more.
    const answers = [queries.hasLogin(organization, user), hasMembers(read, organization, org)];
    if (!(await Promise.all(answers)).every(Boolean)) return [];
  }
  const role = isSame && found.state === 'active' ? found.role : undefined;
  if (role === undefined && isRequired && !listed?.members.has(user.id))
    return [{ kind: 'member', organization, user: githubUser }];
  // An admin is also a member.
  const confirmed = role === 'admin' ? ['admin', 'member'] : [role];
  const roles = organizationRoles.filter(
    (one) => organizationOf(one) === organization && !confirmed.includes(one.slice(organization.length + 1)),
  );
  return [
    ...roles.map((one): Fact => ({ kind: 'role', role: one, user: githubUser })),
    ...inTeams.flatMap(({ team, isIn }): Fact[] => (isIn === false ? [{ kind: 'team', team, user: githubUser }] : [])),
  ];
}

async function hasMembers(read: ReadGithub, organization: string, part: string): Promise<boolean> {
  const members = await read(organization, `/orgs/${part}/members?per_page=1`);
  return members !== undefined && parseGithubResponse(SomeMembers, members).length > 0;
}
