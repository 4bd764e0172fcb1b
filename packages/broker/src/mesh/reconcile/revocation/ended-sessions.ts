/**
 * Root DENY for identity tokens of ended sessions. A token is accepted with any certificate of its grant, so for its
 * remaining minutes it could otherwise be used with another session's certificate.
 *
 * Only HTTP requests have claims. On a TCP port, Istio drops conditions on claims, so such a rule would deny everything
 * that its remaining conditions match. These rules are therefore restricted to the server names of granted HTTP ports,
 * which never appear on a TCP port (compile/http-rules.ts relies on the same).
 */
import { type Access, connectionsTo, type Manifest } from '@meshpass/access';
import { grantNamespace, type ReachableService } from '@meshpass/identity';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { denyPolicy, REVOCATIONS } from './deny-policy.ts';
import { shardEntries } from './shard.ts';

/** Servers that verify identity tokens. */
export interface HttpServers {
  /** Namespaces of the grants' identities. */
  readonly namespaces: readonly string[];
  /** All granted HTTP ports: hosts by port number, both sorted. */
  readonly ports: readonly { readonly port: number; readonly hosts: readonly string[] }[];
}

/**
 * Collects the HTTP servers that the grants reach.
 * @param services returns the services that grants reach
 */
export function httpServersOf(
  access: Access,
  services: (grants: readonly string[]) => readonly ReachableService[],
): HttpServers {
  const grants = access.grants.map(({ name }) => name);
  const http = services(grants).filter(({ protocol }) => protocol !== 'tcp');
  const ports = [...Map.groupBy(http, ({ port }) => port)]
    .sort(([a], [b]) => a - b)
    .map(([port, some]) => ({ port, hosts: [...new Set(some.map(({ host }) => host))].sort() }));
  return { namespaces: grants.map(grantNamespace).sort(), ports };
}

export interface EndedSessionsOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list'>;
  readonly rootNamespace: string;
  /** Undefined until an access file is in force; until then, policies in the cluster stay unchanged. */
  readonly httpServers: () => HttpServers | undefined;
  /** Unix seconds. */
  readonly now: () => number;
}

const NAME = 'meshpass-ended-sessions';
/** Interval at which the policies are read and rewritten, because others may have changed them. */
const REWRITE_SECONDS = 30;

/**
 * @returns function that makes the policies list exactly these sessions. It is idempotent, but must not run
 *   concurrently
 */
export function endedSessions(options: EndedSessionsOptions): (sessions: readonly string[]) => Promise<void> {
  const { kubernetes, rootNamespace } = options;
  let held: ReadonlyMap<string, readonly string[]> = new Map();
  /** Text of each policy as last written; empty if unknown. */
  let written = new Map<string, string>();
  let readAt = Number.NEGATIVE_INFINITY;

  return async (sessions) => {
    const servers = options.httpServers();
    if (!servers) return;
    if (options.now() - readAt >= REWRITE_SECONDS) {
      const found = await kubernetes.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
      written = new Map(
        found.map(({ metadata }) => metadata.name).flatMap((name) => (isOurs(name) ? [[name, '']] : [])),
      );
      readAt = options.now();
    }
    const somewhere = servers.namespaces.length > 0 && servers.ports.length > 0;
    held = somewhere ? shardEntries(NAME, held, sessions) : new Map();
    for (const [name, ids] of held) {
      const manifest = tokenDenial(name, rootNamespace, ids, servers);
      const text = JSON.stringify(manifest);
      if (written.get(name) === text) continue;
      await kubernetes.apply(manifest);
      written.set(name, text);
    }
    for (const name of [...written.keys()].filter((one) => !held.has(one))) {
      await kubernetes.remove({ kind: 'AuthorizationPolicy', metadata: { name, namespace: rootNamespace } });
      written.delete(name);
    }
  };
}

function tokenDenial(
  name: string,
  rootNamespace: string,
  sessions: readonly string[],
  { namespaces, ports }: HttpServers,
): Manifest {
  const from = [{ source: { namespaces } }];
  const ended = { key: 'request.auth.claims[sid]', values: sessions };
  const rules = ports.map(({ port, hosts }) => ({ from, when: [...connectionsTo(port, hosts), ended] }));
  return { ...denyPolicy(name, rootNamespace, { namespaces }), spec: { action: 'DENY', rules } };
}

function isOurs(name: string): boolean {
  return name === NAME || name.startsWith(`${NAME}-`);
}
