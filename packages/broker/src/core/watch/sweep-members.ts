/**
 * Sweeps the members of the teams and organizations that live sessions depend on, and ends sessions and grants of
 * developers who are no longer members. Reading a list costs one request per hundred members, or nothing if the list
 * has not changed. Before anything ends, each user who is missing from a list is queried individually.
 */

import { z } from 'zod';
import { createMembershipQueries, encodePathSegment, organizationOf, type ReadGithub } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { type CachedPages, readListing } from './listing.ts';
import { dependsOnMembership, isCodespaceSession } from './membership.ts';
import { recheckMember } from './recheck-member.ts';
import { isSettled } from './watched-codespaces.ts';

const Member = z.object({ id: z.int().positive(), login: z.string().min(1).max(100) });
const MemberPage = z
  .array(Member)
  .max(100)
  .transform((items) => ({ items }));
/** The maximum number of users who are queried individually per round. The others wait for the next round. */
const MAX_CONFIRMED = 50;

/** Creates the member sweep. */
export function createMemberSweep(sessions: SessionContext) {
  const cachedPages = new Map<string, CachedPages<z.infer<typeof Member>>>();
  /** The ids of the users in the trusted organization's previous member list. */
  let wereMembers: ReadonlySet<number> = new Set();

  /** Returns the listed logins, keyed by user id, or undefined if the list does not exist or is inconsistent. */
  const list = async (read: ReadGithub, organization: string, path: string) => {
    const pages = cachedPages.get(path) ?? new Map();
    cachedPages.set(path, pages);
    const listing = await readListing({ read, organization, path, schema: MemberPage, cachedPages: pages });
    return listing?.consistent ? new Map(listing.items.map((member) => [member.id, member.login])) : undefined;
  };

  const wasMember = (id: number) => wereMembers.has(id);

  return {
    /** Returns whether the trusted organization's last member list contained this user. */
    wasMember,
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
      if (trusted !== undefined && candidates.some(isCodespaceSession)) organizations.add(trusted.toLowerCase());
      let confirmed = 0;
      const queries = createMembershipQueries(read);
      for (const organization of organizations) {
        const org = encodePathSegment(organization);
        const members = org && (await list(read, organization, `/orgs/${org}/members`));
        // GitHub also responds with 404 if the App is not allowed to read members, so a missing list proves nothing.
        if (!members || members.size === 0) continue;
        const isTrusted = organization === trusted?.toLowerCase();
        const options = { read, sessions, trusted: trusted?.toLowerCase(), wasMember };
        const recheck = async (live: Live, lacking: readonly string[]) => {
          if (live.ended || confirmed++ >= MAX_CONFIRMED) return;
          await recheckMember(options, live, organization, { members, teams: lacking });
        };
        for (const live of candidates) {
          const { githubUser, organizationRoles = [] } = live.session.attestation;
          const isMember = members.has(githubUser!.id);
          // Member lists do not include roles, so the few users whose sessions depend on one are queried individually.
          const hasDoubtfulRole = organizationRoles.some(
            (role) => organizationOf(role) === organization && (!isMember || role.endsWith('/admin')),
          );
          const hasLeft = isTrusted && !isMember && dependsOnMembership(live, organization, wasMember);
          if (hasLeft || hasDoubtfulRole) await recheck(live, []);
        }
        if (isTrusted) wereMembers = new Set(members.keys());
        // The team lists come last, because a list that cannot be read ends the sweep.
        for (const team of teams) {
          const path = organizationOf(team) === organization ? await queries.teamPath(team) : undefined;
          if (path === undefined) continue;
          // If a team has been deleted, it has no list, and therefore no members.
          const inTeam = await list(read, organization, `${path}/members`);
          for (const live of candidates) {
            const { githubUser, teams: held } = live.session.attestation;
            if (held.includes(team) && !inTeam?.has(githubUser!.id)) await recheck(live, [team]);
          }
        }
      }
    },
  };
}
