/**
 * The root DENY of identity tokens whose session is over. A token is good for any certificate of its grant, so it would outlive
 * its session on somebody else's for the minutes that it has left.
 *
 * Only HTTP has claims: on a TCP port these rules would lose them and deny all that is left of them. They are therefore bound to
 * the server names of granted HTTP ports, of which a TCP port sees none (compile/http-rules.ts stands on the same).
 */
import { type Access, connectionsTo, type Manifest } from '@meshpass/access';
import { grantNamespace, type ReachableService } from '@meshpass/identity';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { denyPolicy, REVOCATIONS } from './deny-policy.ts';
import { shardEntries } from './shard.ts';

/** Where tokens are looked at. */
export interface HttpServers {
  /** Of the grants' identities. */
  readonly namespaces: readonly string[];
  /** All granted HTTP ports: hosts by port number, both in order. */
  readonly ports: readonly { readonly port: number; readonly hosts: readonly string[] }[];
}

/** @param services what grants reach, by name */
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
  /** Undefined until an access file is in force: then what stands in the cluster stays. */
  readonly httpServers: () => HttpServers | undefined;
  /** Unix seconds. */
  readonly now: () => number;
}

const NAME = 'meshpass-ended-sessions';
/** Somebody may have changed what stands in the cluster: it is written anew after this long. */
const REWRITE_SECONDS = 30;

/** @returns makes the policies hold exactly these sessions; idempotent, not to be called while it works */
export function endedSessions(options: EndedSessionsOptions): (sessions: readonly string[]) => Promise<void> {
  const { kubernetes, rootNamespace } = options;
  let held: ReadonlyMap<string, readonly string[]> = new Map();
  /** Text of each policy as it was written; empty where it is not known. */
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
