/**
 * Decides what a session may have: a pure function of its attestation, the access file, its approvals and the time.
 * Only this decision determines which grants a session opens with (authorize.ts), loses (touch.ts) and gains
 * (widen.ts).
 */
import { type Access, type Approved, type Authorize, type Decision, type Trust, whyUntrusted } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { HARD_LIMIT_SECONDS, type Session } from './session.ts';

/** A grant that a session may have. */
export interface EntitledGrant {
  /** Hard end of the grant in this session, Unix seconds. */
  readonly until: number;
  /** Entry of the access file that applies. */
  readonly reason: string;
}

/** Grants that a session may have, and reasons for the others. */
export interface Entitlement {
  readonly grants: ReadonlyMap<string, EntitledGrant>;
  /** Reasons for the other grants, each with the grant's name. */
  readonly refusals: readonly string[];
  /** Grants for which only a sign-in is missing; see Decision. */
  readonly signIns: Decision['signIns'];
  /** Grants for which only an approval is missing; see Decision. */
  readonly requestable: Decision['requestable'];
  /** Why the session may have no grant at all, such as a proof that the access file no longer trusts. */
  readonly denied: string | undefined;
}

/**
 * Returns what a session with this attestation may have under an access file.
 * @param session `openedAt` is in Unix seconds; a grant's `session` limits the age of the proof
 * @param now Unix seconds
 * @param approved grants with an approval, and their ends
 */
export function computeEntitlement(
  authorize: Authorize,
  session: Pick<Session, 'attestation' | 'openedAt'>,
  access: Access,
  now: number,
  approved?: Approved,
): Entitlement {
  const { attestation, openedAt } = session;
  const untrusted = whyUntrusted(attestation, access.trust) ?? organizationLost(attestation, access.trust);
  if (untrusted !== undefined) return noEntitlement(untrusted);
  const { grants, refusals, signIns, requestable } = authorize(attestation, access, now, approved);
  const entitled = grants.map(({ grant, until = Number.POSITIVE_INFINITY, reason }): [string, EntitledGrant] => {
    const end = openedAt + Math.min(grant.session, HARD_LIMIT_SECONDS);
    return [grant.name, { until: Math.min(until, end), reason }];
  });
  return { grants: new Map(entitled), refusals, signIns, requestable, denied: undefined };
}

/** Returns the entitlement to no grants. */
export function noEntitlement(denied: string): Entitlement {
  return { grants: new Map(), refusals: [denied], signIns: undefined, requestable: [], denied };
}

function organizationLost({ attestor, claims }: Attestation, { codespaces }: Trust): string | undefined {
  if (attestor !== 'github-codespace' || !codespaces) return undefined;
  const organization = codespaces.organization.toLowerCase();
  // The attestation required one of the two to be the organization. Compared by login, because the access file contains
  // a login.
  const accounts = [claims.billable_owner, claims.repository_owner];
  return accounts.some((account) => typeof account === 'string' && account.toLowerCase() === organization)
    ? undefined
    : `The access file now trusts Codespaces of ${codespaces.organization}, but this is not one of them.`;
}
