/** Pods of destinations, with their ports. */
import { fullHost, type MeshView } from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import type { Target } from './router.ts';

/** Returns what selects the Pods of a destination, by name: `selector`. Empty if its Service is not among the objects. */
export function selectionOf(
  mesh: MeshView,
  destination: Target['destination'] | undefined,
): ReadonlyMap<string, string> {
  const service = destination && mesh.serviceAt(destination.host);
  if (!service) return new Map();
  const { host, port, subset } = destination;
  const found = items(service.spec.ports).find((one) => one.port === port);
  const rules = subset === undefined ? [] : mesh.all('DestinationRule');
  const ofSubset = rules
    .filter(({ spec, metadata }) => fullHost(spec.host ?? '', metadata.namespace, mesh.config.clusterDomain) === host)
    .flatMap(({ spec }) => items(spec.subsets))
    .filter(({ name }) => name === subset);
  return new Map([
    ['selector', written(service.spec.selector)],
    ...(found ? [['target port', String(found.targetPort ?? found.port)] as const] : []),
    ...ofSubset.map((one) => [`labels of subset ${subset}`, written(one.labels)] as const),
  ]);
}

function written(given: Parameters<typeof labels>[0]): string {
  const list = Object.entries(labels(given)).map(([name, value]) => `${name}=${value}`);
  return list.length === 0 ? 'none' : list.toSorted().join(', ');
}

/** Describes how the Pods of a destination changed: `selector app=admin, previously app=orders`. */
export function selectionChanges(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...after].flatMap(([name, value]) => {
    const previous = before.get(name);
    return previous === undefined || previous === value ? [] : [`${name} ${value}, previously ${previous}`];
  });
}
