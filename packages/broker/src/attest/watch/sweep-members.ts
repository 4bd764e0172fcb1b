/**
 * Sweeps the members of the teams and organizations that live sessions depend on. It ends what they lose. A list costs
 * a request per hundred members, and nothing while it is unchanged. A user missing from a list is queried individually
 * before anything ends.
 */
import { z } from 'zod';
import { parseGithub, pathPart, teamPath } from '../github/api.ts';
import { type CachedPages, type PageContent, readListing } from './listing.ts';
import { dependsOnMembership, isCodespace, onLeftOrganization, onLeftTeam, onRoleChanged } from './membership.ts';
import { organizationIdBy, type ReadGithub } from './reader.ts';
import { isSettled } from './watched-codespaces.ts';
import type { WatchedSessions } from './watched-sessions.ts';

interface Member {
  readonly id: number;
  readonly login: string;
}

const MemberPage: z.ZodType<PageContent<Member>> = z
  .array(z.object({ id: z.int().positive(), login: z.string().min(1).max(100) }))
  .max(100)
  .transform((items) => ({ items }));
const Membership = z.object({ state: z.string(), role: z.string().optional() });
const NO_MEMBER: z.infer<typeof Membership> = { state: 'none' };

/** Maximum users queried individually per round. The rest wait for the next one. */
const MAX_CONFIRMED = 50;

/** Creates the sweep. */
export function createMemberSweep(read: ReadGithub, sessions: WatchedSessions) {
  const cachedPages = new Map<string, CachedPages<Member>>();
  /** Ids of users in an earlier member list of the organization. */
  let wereMembers: ReadonlySet<number> = new Set();

  /** Lists logins by id; undefined if the list does not exist. */
  const list = async (organization: string, path: string, onCost: () => void) => {
    const pages = cachedPages.get(path) ?? new Map();
    cachedPages.set(path, pages);
    const listing = await readListing({ read, organization, path, schema: MemberPage, cachedPages: pages, onCost });
    return listing?.consistent ? new Map(listing.items.map((member) => [member.id, member.login])) : undefined;
  };

  const wasMember = (id: number) => wereMembers.has(id);

  return {
    /** Whether the last member list of that organization contained this user. */
    wasMember,
    /**
     * Runs one sweep.
     * @param organization organization that the access file trusts, if it trusts Codespaces
     * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`; the rest is checked next time
     */
    async sweep(trusted: string | undefined, onCost: () => void) {
      const askedAt = sessions.clock();
      const candidates = [...sessions.live.all()].filter(
        ({ session, ended }) => !ended && session.attestation.githubUser && isSettled(session, askedAt),
      );
      const teams = new Set(candidates.flatMap(({ session }) => session.attestation.teams));
      const roles = candidates.flatMap(({ session }) => session.attestation.organizationRoles ?? []);
      const organizations = new Set([...teams, ...roles].map((one) => one.split('/')[0]!));
      if (trusted !== undefined && candidates.some(isCodespace)) organizations.add(trusted.toLowerCase());
      let confirmed = 0;
      /** Queries one membership; undefined if the round has reached its limit. */
      const ask = async (organization: string, path: string) => {
        if (confirmed++ >= MAX_CONFIRMED) return undefined;
        onCost();
        const answer = await read(organization, path);
        return answer ? parseGithub(Membership, answer) : NO_MEMBER;
      };
      const isGone = async (organization: string, path: string) =>
        (await ask(organization, path).then((found) => found?.state ?? 'active')) !== 'active';
      /**
       * Checks roles. Member lists contain no roles, so each of the few sessions that depend on one is queried
       * individually.
       */
      const sweepRoles = async (organization: string, members: ReadonlyMap<number, string>) => {
        for (const live of candidates) {
          const { githubUser, organizationRoles = [] } = live.session.attestation;
          const held = organizationRoles.filter((role) => role.startsWith(`${organization}/`));
          if (live.ended || held.length === 0) continue;
          const { id, login } = githubUser!;
          if (members.has(id) && !held.includes(`${organization}/admin`)) continue;
          const part = pathPart(members.get(id) ?? login);
          const found = part && (await ask(organization, `/orgs/${pathPart(organization)}/memberships/${part}`));
          if (!found) continue;
          onRoleChanged(sessions, live, organization, found.state === 'active' ? found.role : undefined);
        }
      };

      const counted = (organization: string) => {
        onCost();
        return organizationIdBy(read)(organization);
      };
      for (const organization of organizations) {
        const org = pathPart(organization);
        const members = org && (await list(organization, `/orgs/${org}/members`, onCost));
        // GitHub also responds with 404 without permission to read members; then nothing is known.
        if (!members || members.size === 0) continue;
        if (organization === trusted?.toLowerCase()) {
          for (const live of candidates) {
            const { id, login } = live.session.attestation.githubUser!;
            if (live.ended || members.has(id) || !pathPart(login)) continue;
            if (!dependsOnMembership(live, organization, wasMember)) continue;
            if (await isGone(organization, `/orgs/${org}/memberships/${pathPart(login)}`))
              onLeftOrganization(sessions, live, organization);
          }
          wereMembers = new Set(members.keys());
        }
        await sweepRoles(organization, members);
        for (const team of teams) {
          if (!team.startsWith(`${organization}/`)) continue;
          const path = await teamPath(team, counted);
          if (path === undefined) continue;
          const inTeam = await list(organization, `${path}/members`, onCost);
          for (const live of candidates) {
            const { githubUser, teams: held } = live.session.attestation;
            const { id, login } = githubUser!;
            // Logins change, and the organization's list has the current one. A deleted team has no members.
            const part = pathPart(members.get(id) ?? login);
            if (live.ended || !part || !held.includes(team) || inTeam?.has(id)) continue;
            if (await isGone(organization, `${path}/memberships/${part}`)) onLeftTeam(sessions, live, team);
          }
        }
      }
    },
  };
}
