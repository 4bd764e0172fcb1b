/** What a session is granted now, beside the credentials that it has, and what follows from it. */
import { MeshpassError } from '@meshpass/identity/error';
import { type HeartbeatResponse, type HeldGrantInfo, MAX_GRANTS, type ServicesResponse } from '@meshpass/identity/wire';
import type { Credentials } from './enrol.ts';

/** What the broker says with a renewed lease, whichever way. `set`: the grants, with one that a control channel renewed. */
export type LeaseNews = Pick<HeartbeatResponse, 'services_version' | 'token_keys'> & { readonly set?: string };

/** @throws MeshpassError agent_broker_answer_invalid where there are more grants than a session may have */
export function withServices(before: Credentials, answer: ServicesResponse): Credentials {
  const { mesh, services, kubernetes, services_version, held: now } = answer;
  if (now)
    return { ...before, ...withHeld(before, now), mesh, services, kubernetes, servicesVersion: services_version };
  const grants = [...new Set(services.map((service) => service.grant))];
  if (grants.length > MAX_GRANTS) {
    throw new MeshpassError('agent_broker_answer_invalid', `The broker names more than ${MAX_GRANTS} grants.`);
  }
  // Grants come back, so that those of earlier are kept, but not for ever: as many as one request to the broker may name.
  const held = [...new Set([...grants, ...before.session.grants])].slice(0, MAX_GRANTS);
  return {
    ...before,
    mesh,
    services,
    kubernetes,
    servicesVersion: services_version,
    svids: new Map([...before.svids].filter(([grant]) => held.includes(grant))),
    session: { ...before.session, grants: held },
  };
}

/** A certificate of a grant that is held no more is gone, and so is one that the grant had before it was lost and gained again. */
function withHeld({ session, svids }: Credentials, held: readonly HeldGrantInfo[]) {
  const spiffeIds = new Map(held.map(({ grant, spiffe_id }) => [grant, spiffe_id]));
  return {
    svids: new Map([...svids].filter(([grant, { spiffeId }]) => spiffeIds.get(grant) === spiffeId)),
    session: {
      ...{ ...session, grants: held.map(({ grant }) => grant), held: [...held] },
      expires_at: Math.max(...held.map(({ until }) => until), 0) || session.expires_at,
    },
  };
}

/** Grants that the session holds and has no certificate of. */
export function withoutCertificate({ session, svids, services }: Credentials): readonly string[] {
  const missing = session.grants.filter((grant) => !svids.has(grant));
  // A broker that does not say what is held: what reaches nothing may be lost.
  return session.held ? missing : missing.filter((grant) => services.some((service) => service.grant === grant));
}

/**
 * Whether a set of grants, as the broker says it with a lease (`grantSet`), has one that is new.
 * @param before the set of the lease before: what was not in it was lost, also where its certificate is still here
 */
export function isGained(
  { session, svids }: Credentials,
  set: string | undefined,
  before: string | undefined,
): boolean {
  const names = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(','));
  const had = before === undefined ? session.grants : names(before);
  return names(set).some((name) => !had.includes(name) || !svids.has(name));
}

/** Certificates without their keys, with how long their grants are held. */
export function certificatesOf({ svids, session }: Credentials) {
  return [...svids.values()].map(({ grant, spiffeId, expiresAt }) => {
    const held = session.held?.find((one) => one.grant === grant);
    return {
      ...{ grant, spiffeId, expiresAt },
      ...(held && { heldUntil: held.until * 1000 }),
      ...(held?.gained !== undefined && { gained: held.gained }),
    };
  });
}

/** Whether an edge can renew the session's lease. */
export function hasChannel({ mesh, svids }: Credentials): boolean {
  return (mesh.statement_keys?.length ?? 0) > 0 && svids.size > 0;
}
