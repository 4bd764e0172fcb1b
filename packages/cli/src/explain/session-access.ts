/**
 * Converts the broker's answer about a session into an access file and mesh objects. This way, calls from a workspace
 * are decided by the same evaluator that the platform team uses, and the rules are not implemented twice.
 */
import type { Access, ClaimValues, GrantTarget, Operation } from '@meshpass/access';
import { parseSpiffe } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';
import { loadObject, type Resource } from '@meshpass/istio';

/** The file name to use in source locations if no access file is given. */
const SESSION_FILE = "the broker's answer for this session";
const PLACE = { file: SESSION_FILE, line: 1, column: 1 };

/** Thrown if an operation has an unknown format. Callers report the result as unknown. */
export class UnknownOperationError extends Error {}

/**
 * Builds an access file from the services that the session can reach.
 * @throws UnknownOperationError
 */
export function sessionAccess(services: readonly ReachableService[]): Access {
  const grants = [...Map.groupBy(services, ({ grant }) => grant)];
  return {
    file: SESSION_FILE,
    trust: { codespaces: { organization: 'this-session' }, issuers: [], audiences: [] },
    grants: grants.map(([name, own]) => ({
      name,
      place: PLACE,
      who: [{ place: PLACE, user: 'this-session' }],
      kubernetesRoles: [],
      ttl: 600,
      session: 28_800,
      to: own.map(targetOf),
    })),
  };
}

function targetOf({ host, port, allow }: ReachableService): GrantTarget {
  const [service, namespace] = host.split('.') as [string, string];
  const denied = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [operationOf(text.slice(NOT.length))] : []));
  const allowed = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [] : [operationOf(text)]));
  return {
    place: PLACE,
    service,
    namespace,
    port,
    ...(allow && { allow: allowed }),
    ...(denied.length > 0 && { deny: denied }),
  };
}

const NOT = 'but not ';

/**
 * Parses an operation in the format of describeAllowed() in @meshpass/access, such as
 * `POST /refunds (with department finance or audit)`.
 */
function operationOf(text: string): Operation {
  const [, method, path, demands = ''] = /^(\*|[A-Z-]+) (\/\S*)((?: \(with [^()]+\))*)$/.exec(text) ?? [];
  if (method === undefined || path === undefined) throw new UnknownOperationError(text);
  const require: Record<string, string[]> = {};
  for (const [, demand] of demands.matchAll(/ \(with ([^()]+)\)/g)) {
    const [name, ...values] = demand!.split(' ');
    // If a claim is required twice, a value from each set has to match. This is not supported, because it cannot be
    // expressed by a single set and is rare.
    if (require[name!]) throw new UnknownOperationError(text);
    require[name!] = values.join(' ').split(' or ');
  }
  return { method, path, ...(Object.keys(require).length > 0 && { require: require as ClaimValues }) };
}

/**
 * Builds a Service for each host, and a Pod for each ServiceAccount behind it.
 * @param services the services of the session. Duplicates of the same host and port are ignored
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
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        selector: labels,
        ports: ports.map(({ port, protocol }) => ({ port, name: `p${port}`, appProtocol: protocol })),
      },
    };
    const pods = [...accounts].map((serviceAccountName, index) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `${name}-${index}`, namespace, labels },
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
