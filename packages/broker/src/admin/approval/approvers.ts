/**
 * Determines who may answer a request or review an emergency, based on the access file in force and fresh data from
 * GitHub.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Access, approverEntry, type Who } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { approverMemberships, type MembershipQuery, withFreshMemberships } from '../../attest/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { ApprovalParts, Approver } from './parts.ts';
import { comparePeople, createIdentityLinker, identitiesOf } from './people.ts';
import type { GrantRequest } from './request.ts';

/** How many times GitHub is queried for one decision if the access file keeps changing. */
const MAX_LOOKS = 5;

/**
 * Returns the access file entries that list the approvers of a request or the reviewers of an emergency. If the file in
 * force no longer lists any reviewers, those at the time of the emergency apply.
 */
export function approverEntries({ grants }: Access, { grant, emergency }: GrantRequest): readonly Who[] {
  const approval = grants.find(({ name }) => name === grant)?.approval;
  return emergency ? (approval?.emergency?.review ?? emergency.by) : (approval?.by ?? []);
}

/**
 * Reads memberships from GitHub, and reads them again if an access file change in the meantime makes other teams
 * relevant.
 * @param look reads the access file in force. It is called before and after the GitHub requests, and the decision fails
 *   if it throws
 * @returns the last result of `look`, and the attestations with fresh GitHub data, in the same order as `people`
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function queryGithub<Look extends { readonly query: MembershipQuery }>(
  { read, losses }: Pick<ApprovalParts, 'read' | 'losses'>,
  people: readonly Attestation[],
  look: () => Look,
): Promise<{ readonly now: Look; readonly fresh: readonly Attestation[] }> {
  let { query } = look();
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const before = query;
    const fresh = await Promise.all(people.map((one) => withFreshMemberships(one, before, read, losses)));
    const now = look();
    if (isDeepStrictEqual(now.query, before)) return { now, fresh };
    ({ query } = now);
  }
  throw new MeshpassError('issuer_unavailable', 'The access file keeps changing; try again.', { retryAfter: 5 });
}

/**
 * Returns the requests that this person may answer or review, which never include their own.
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function listAnswerableRequests(
  { mesh, read, losses, clock, live }: ApprovalParts,
  { attestation }: Approver,
  waiting: readonly GrantRequest[],
): Promise<readonly GrantRequest[]> {
  if (waiting.length === 0 || !mesh.inForce()) return [];
  const access = mesh.access();
  const [identities, people] = [identitiesOf(attestation), createIdentityLinker(live, access.trust)];
  const others = waiting.filter(
    (one) => comparePeople(people(one.identities, one.sessionId), identities) === 'different',
  );
  const by = others.flatMap((one) => approverEntries(access, one));
  const fresh = await withFreshMemberships(attestation, approverMemberships(by, access.deny), read, losses);
  return others.filter(
    (one) =>
      approverEntry({ by: approverEntries(mesh.access(), one) }, fresh, mesh.access(), toUnixSeconds(clock)) !==
      undefined,
  );
}
