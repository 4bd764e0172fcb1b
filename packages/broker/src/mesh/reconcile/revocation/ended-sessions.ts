/**
 * Maintains the root DENY policies for the identity tokens of ended sessions. A token is accepted together with any
 * certificate of its grant. Without these policies, it could therefore be used with another session's certificate until
 * it expires.
 *
 * Only HTTP requests have claims. On a TCP port, Istio ignores conditions on claims, so a rule would deny everything
 * that matches its remaining conditions. These rules are therefore limited to the server names of granted HTTP ports,
 * which never occur on a TCP port. compile/http-rules.ts relies on the same fact.
 */
import { type Access, connectionsTo, type Manifest } from '@meshpass/access';
import { grantNamespace } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import type { ListedObject } from '../../kubernetes/kubernetes.ts';
import { createDenyPolicies, type DenyPoliciesOptions, denyPolicy } from './deny-policy.ts';

/** The servers that verify identity tokens. */
export type HttpServers = ReturnType<typeof collectHttpServers>;

/**
 * Collects the HTTP servers that can be reached with the grants of an access file.
 * @param services returns the services that the given grants reach
 * @returns the namespaces of the grants' identities and the hosts by port number, all of them sorted
 */
export function collectHttpServers(
  access: Access,
  services: (grants: readonly string[]) => readonly ReachableService[],
) {
  const grants = access.grants.map(({ name }) => name);
  const http = services(grants).filter(({ protocol }) => protocol !== 'tcp');
  const ports = [...Map.groupBy(http, ({ port }) => port)]
    .sort(([a], [b]) => a - b)
    .map(([port, some]) => ({ port, hosts: [...new Set(some.map(({ host }) => host))].sort() }));
  return { namespaces: grants.map(grantNamespace).sort(), ports };
}

export interface EndedSessionPoliciesOptions extends DenyPoliciesOptions {
  /**
   * Returns the HTTP servers, or undefined until an access file is in force. Until then, the policies in the cluster
   * are left unchanged.
   */
  readonly httpServers: () => HttpServers | undefined;
}

const NAME = 'meshpass-ended-sessions';
const CLAIM = 'request.auth.claims[sid]';

/**
 * Creates the function that maintains the policies for ended sessions.
 * @returns a function that updates the policies so that they list exactly the given sessions. It is idempotent but must
 *   not run concurrently.
 */
export function createEndedSessionPolicies(
  options: EndedSessionPoliciesOptions,
): (sessions: readonly string[]) => Promise<void> {
  const policies = createDenyPolicies(options, NAME, sessionsIn);
  return async (sessions) => {
    const servers = options.httpServers();
    if (!servers) return;
    const somewhere = servers.namespaces.length > 0 && servers.ports.length > 0;
    await policies.apply(somewhere ? sessions : [], (name, ids) =>
      tokenDenial(name, options.rootNamespace, ids, servers),
    );
  };
}

function sessionsIn({ spec }: ListedObject): readonly string[] {
  const { rules = [] } = (spec ?? {}) as {
    readonly rules?: readonly { readonly when?: readonly { readonly key: string; readonly values?: string[] }[] }[];
  };
  const conditions = rules.flatMap(({ when = [] }) => when).filter(({ key }) => key === CLAIM);
  return [...new Set(conditions.flatMap(({ values = [] }) => values))];
}

function tokenDenial(
  name: string,
  rootNamespace: string,
  sessions: readonly string[],
  { namespaces, ports }: HttpServers,
): Manifest {
  const from = [{ source: { namespaces } }];
  const ended = { key: CLAIM, values: sessions };
  const rules = ports.map(({ port, hosts }) => ({ from, when: [...connectionsTo(port, hosts), ended] }));
  return { ...denyPolicy(name, rootNamespace, { namespaces }), spec: { action: 'DENY', rules } };
}
