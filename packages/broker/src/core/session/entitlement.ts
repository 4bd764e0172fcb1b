/**
 * Decides which grants a session is entitled to. The decision is a pure function of the session's attestation, the
 * access file, the approvals and the time. It is the only thing that determines which grants a session opens with
 * (authorize.ts), loses (touch.ts) and gains (widen.ts).
 */
import { type Access, type Approved, type Authorize, type Decision, type Trust, whyUntrusted } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { HARD_LIMIT_SECONDS, type Session } from './session.ts';

/** A grant that a session is entitled to. */
export interface EntitledGrant {
  /** When the grant ends in this session, in Unix seconds. */
  readonly until: number;
  /** Describes the access file entry that the grant is based on. */
  readonly reason: string;
}

/** The grants that a session is entitled to, and the reasons why it is not entitled to the others. */
export interface Entitlement {
  readonly grants: ReadonlyMap<string, EntitledGrant>;
  /** The reasons why the other grants do not apply, each prefixed with the name of the grant. */
  readonly refusals: readonly string[];
  /** The grants that the session would get if the developer signed in (see Decision). */
  readonly signIns: Decision['signIns'];
  /** The grants that the session would get with an approval (see Decision). */
  readonly requestable: Decision['requestable'];
  /** The reason why the session is not entitled to any grants, for example because its proof is no longer trusted. */
  readonly denied: string | undefined;
}

/**
 * Computes which grants a session is entitled to under an access file.
 * @param session the session to evaluate. Each grant's `session` duration is counted from `openedAt`, which is in Unix
 *   seconds.
 * @param now the current time, in Unix seconds
 * @param approved the approved grants, and when each approval ends
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

/** Creates an entitlement without any grants, for the given reason. */
export function noEntitlement(denied: string): Entitlement {
  return { grants: new Map(), refusals: [denied], signIns: undefined, requestable: [], denied };
}

function organizationLost({ attestor, claims }: Attestation, { codespaces }: Trust): string | undefined {
  if (attestor !== 'github-codespace' || !codespaces) return undefined;
  const organization = codespaces.organization.toLowerCase();
  // The attestation required one of these accounts to be the organization. They are compared by login, because the
  // access file identifies the organization by its login.
  const accounts = [claims.billable_owner, claims.repository_owner];
  return accounts.some((account) => typeof account === 'string' && account.toLowerCase() === organization)
    ? undefined
    : `The access file now trusts Codespaces of ${codespaces.organization}, but this is not one of them.`;
}
