/** Finds the Services that select a workload without testing every Service of a namespace. */
import { memoize } from '@meshpass/identity/memory/memoize';
import type { Service } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import { selects } from '../object/selection.ts';

interface Placed {
  readonly service: Service;
  readonly position: number;
}

/** Indexes Services by the first label of their selectors. A Service without a selector does not select any Pod. */
const byLabel = memoize((services: readonly Service[]): ReadonlyMap<string, readonly Placed[]> => {
  const found = new Map<string, Placed[]>();
  for (const [position, service] of services.entries()) {
    const [first] = Object.entries(service.spec.selector ?? {});
    if (!first) continue;
    const key = keyOf(first);
    const known = found.get(key);
    if (known) known.push({ service, position });
    else found.set(key, [{ service, position }]);
  }
  return found;
});

function keyOf([name, value]: readonly [string, string]): string {
  return `${name}=${value}`;
}

/**
 * Lists the Services that select the labels, in their original order.
 * @param services Services of the namespace; their index is cached for as long as the array exists
 */
export function servicesSelecting(services: readonly Service[], labels: Labels): readonly Service[] {
  const index = byLabel(services);
  return Object.entries(labels)
    .flatMap((label) => index.get(keyOf(label)) ?? [])
    .filter(({ service }) => selects(service.spec.selector, labels))
    .sort((a, b) => a.position - b.position)
    .map(({ service }) => service);
}
