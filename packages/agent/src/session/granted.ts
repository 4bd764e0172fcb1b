/** What a session is granted now, beside the credentials that it has, and what follows from it. */
import { MeshpassError } from '@meshpass/identity/error';
import { MAX_GRANTS, type ServicesResponse } from '@meshpass/identity/wire';
import type { Credentials } from './enrol.ts';

/** @throws MeshpassError agent_broker_answer_invalid where there are more grants than a session may have */
export function withServices(before: Credentials, { mesh, services, services_version }: ServicesResponse): Credentials {
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
    servicesVersion: services_version,
    svids: new Map([...before.svids].filter(([grant]) => held.includes(grant))),
    session: { ...before.session, grants: held },
  };
}

/** Whether an edge can renew the session's lease. */
export function hasChannel({ mesh, svids }: Credentials): boolean {
  return (mesh.statement_keys?.length ?? 0) > 0 && svids.size > 0;
}
