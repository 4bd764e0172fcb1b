/** Finds the Services that select a workload, without having to test every Service in a namespace. */
import { memoize } from '@meshpass/identity';
import type { Service } from '../object/kubernetes.ts';
import type { Labels } from '../object/object.ts';
import { selects } from '../object/selection.ts';

interface Placed {
  readonly service: Service;
  readonly position: number;
}

/** Indexes Services by the first label in their selectors. A Service without a selector does not select any Pods. */
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
 * Returns the Services whose selectors match the given labels, preserving their order.
 * @param services the Services of the namespace. Their index is cached for as long as this array exists
 */
export function servicesSelecting(services: readonly Service[], labels: Labels): readonly Service[] {
  const index = byLabel(services);
  return Object.entries(labels)
    .flatMap((label) => index.get(keyOf(label)) ?? [])
    .filter(({ service }) => selects(service.spec.selector, labels))
    .sort((a, b) => a.position - b.position)
    .map(({ service }) => service);
}
