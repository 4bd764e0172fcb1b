/** Applies the current grants of a session to its credentials. */
import type { ServicesResponse } from '@meshpass/identity/wire';
import type { Credentials, Svid } from './enrol.ts';

/**
 * Applies a list of services. Certificates are removed if their grant was lost, or if it was regained with a different
 * SPIFFE ID.
 */
export function withServices(before: Credentials, answer: ServicesResponse): Credentials {
  const { mesh, services, kubernetes, services_version: servicesVersion, held } = answer;
  const { session, svids } = before;
  const spiffeIds = new Map(held.map(({ grant, spiffe_id }) => [grant, spiffe_id]));
  return {
    ...before,
    mesh,
    services,
    kubernetes,
    servicesVersion,
    svids: new Map([...svids].filter(([grant, { spiffeId }]) => spiffeIds.get(grant) === spiffeId)),
    session: {
      ...session,
      grants: held.map(({ grant }) => grant),
      held,
      expires_at: Math.max(...held.map(({ until }) => until), 0) || session.expires_at,
    },
  };
}

/** Returns the session's grants that have no certificate. */
export function withoutCertificate({ session, svids }: Credentials): readonly string[] {
  return session.grants.filter((grant) => !svids.has(grant));
}

/**
 * Returns whether a grant set contains a new grant. The broker sends the grant set with each lease (`grantSet`).
 * @param before the grant set of the previous lease. Grants that are missing from it had been lost, even if their
 *   certificates still exist
 */
export function hasNewGrant({ session, svids }: Credentials, set: string, before: string | undefined): boolean {
  const names = (text: string) => (text === '' ? [] : text.split(','));
  const had = before === undefined ? session.grants : names(before);
  return names(set).some((name) => !had.includes(name) || !svids.has(name));
}

export interface CertificateStatus extends Pick<Svid, 'grant' | 'spiffeId' | 'expiresAt'> {
  /** When the session loses the grant. Absent if the broker does not report it. */
  readonly heldUntil?: number;
  /**
   * Why the session gained the grant after it was opened: `window_opened`, `access_widened`, `approved`, `emergency` or
   * `signed_in`.
   */
  readonly gained?: string;
}

/** Returns the certificates without their private keys, each with the time until which the session holds its grant. */
export function certificatesOf({ svids, session }: Credentials): CertificateStatus[] {
  return [...svids.values()].map(({ grant, spiffeId, expiresAt }) => {
    const held = session.held.find((one) => one.grant === grant);
    return {
      grant,
      spiffeId,
      expiresAt,
      ...(held && { heldUntil: held.until * 1000 }),
      ...(held?.gained !== undefined && { gained: held.gained }),
    };
  });
}
