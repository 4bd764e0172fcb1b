/**
 * What the broker tells a session it may reach, as an access file, and the part of the mesh that it is about, as objects: so that one
 * evaluator decides calls here and for the platform team, and nothing about rules is written twice.
 */
import type { Access, ClaimValues, GrantTarget, Operation } from '@meshpass/access';
import { parseSpiffe } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';
import { loadObject, type Resource } from '@meshpass/istio';

/** What stands for a file where none was given. */
export const SESSION_FILE = 'what the broker tells this session';
const PLACE = { file: SESSION_FILE, line: 1, column: 1 };

/** Where an operation is written in words that are not understood; nothing is concluded from it then. */
export class UnreadOperation extends Error {}

/** @throws UnreadOperation */
export function sessionAccess(services: readonly ReachableService[]): Access {
  const grants = [...Map.groupBy(services, ({ grant }) => grant)];
  return {
    file: SESSION_FILE,
    trust: { codespaces: { organization: 'this-session' }, issuers: [], audiences: [] },
    grants: grants.map(([name, own]) => ({
      ...{ name, place: PLACE, who: [{ place: PLACE, user: 'this-session' }], kubernetesRoles: [] },
      ...{ ttl: 600, session: 28_800, to: own.map(targetOf) },
    })),
  };
}

function targetOf({ host, port, allow }: ReachableService): GrantTarget {
  const [service, namespace] = host.split('.') as [string, string];
  const denied = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [operationOf(text.slice(NOT.length))] : []));
  const allowed = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [] : [operationOf(text)]));
  return {
    ...{ place: PLACE, service, namespace, port },
    ...(allow && { allow: allowed }),
    ...(denied.length > 0 && { deny: denied }),
  };
}

const NOT = 'but not ';

/** `POST /refunds (with department finance or audit)`, as describeAllowed() of @meshpass/access writes it. */
function operationOf(text: string): Operation {
  const [, method, path, demands = ''] = /^(\*|[A-Z-]+) (\/\S*)((?: \(with [^()]+\))*)$/.exec(text) ?? [];
  if (method === undefined || path === undefined) throw new UnreadOperation(text);
  const require: Record<string, string[]> = {};
  for (const [, demand] of demands.matchAll(/ \(with ([^()]+)\)/g)) {
    const [name, ...values] = demand!.split(' ');
    // A claim that is demanded twice must meet both; that is rare, and not said in one set.
    if (require[name!]) throw new UnreadOperation(text);
    require[name!] = values.join(' ').split(' or ');
  }
  return { method, path, ...(Object.keys(require).length > 0 && { require: require as ClaimValues }) };
}

/**
 * A Service for each host, with a workload for each ServiceAccount behind it.
 * @param services of which each host and port counts once
 */
export function sessionMesh(
  services: readonly Pick<ReachableService, 'host' | 'port' | 'protocol' | 'spiffe_ids'>[],
): Resource[] {
  return [...Map.groupBy(services, ({ host }) => host)].flatMap(([host, own]) => {
    const [name, namespace] = host.split('.') as [string, string];
    const labels = { 'meshpass-explain': name };
    const ports = [...new Map(own.map((one) => [one.port, one])).values()];
    const accounts = new Set(
      own.flatMap((one) => one.spiffe_ids.map((id) => parseSpiffe(id)?.serviceAccount ?? 'default')),
    );
    const service = {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace } },
      spec: {
        selector: labels,
        ports: ports.map(({ port, protocol }) => ({ port, name: `p${port}`, appProtocol: protocol })),
      },
    };
    const pods = [...accounts].map((serviceAccountName, index) => ({
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: `${name}-${index}`, namespace, labels } },
      spec: {
        serviceAccountName,
        containers: [
          { name: 'app', image: 'app' },
          { name: 'istio-proxy', image: 'proxyv2' },
        ],
      },
    }));
    return [service, ...pods].flatMap((one) => loadObject(one, SESSION_FILE).resources);
  });
}
