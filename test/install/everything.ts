/** Every object of a cluster, to find what an installation leaves behind and what it changed of others. */
import { isDeepStrictEqual } from 'node:util';

/** Content by `kind namespace/name`, as people and programs write it, without status and versions. */
export type Snapshot = ReadonlyMap<string, unknown>;

interface Item {
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace?: string };
  readonly status?: unknown;
}

/** Kubernetes' own notes, which change all the time. */
const NOTES = /^(?:events|leases|endpoints|endpointslices|componentstatuses|nodes|apiservices)(?:\.|$)/;
const LEADER = 'control-plane.alpha.kubernetes.io/leader';
const COUNTERS = ['resourceVersion', 'generation', 'managedFields', 'uid', 'creationTimestamp'];

export async function everything(kubectl: (...args: string[]) => Promise<string>): Promise<Snapshot> {
  const names = (await kubectl('api-resources', '--verbs=list', '--output=name')).trim().split('\n');
  const kinds = names.filter((name) => !NOTES.test(name) && !name.endsWith('.metrics.k8s.io'));
  const { items } = JSON.parse(await kubectl('get', kinds.join(','), '-A', '-o', 'json')) as { items: Item[] };
  return new Map(
    items.map(({ status: _, ...item }) => {
      // istiod renews its leadership in annotations.
      const annotations = { ...(item.metadata.annotations as object | undefined), [LEADER]: undefined };
      const metadata = Object.fromEntries(Object.entries(item.metadata).filter(([name]) => !COUNTERS.includes(name)));
      const key = `${item.kind} ${item.metadata.namespace ?? ''}/${item.metadata.name}`;
      return [key, { ...item, metadata: { ...metadata, annotations } }];
    }),
  );
}

/** Objects that are new, gone or changed. */
export function differences(before: Snapshot, after: Snapshot): string[] {
  const all = [...new Set([...before.keys(), ...after.keys()])].sort();
  return all.flatMap((key) => {
    if (!before.has(key)) return [`new: ${key}`];
    if (!after.has(key)) return [`gone: ${key}`];
    return isDeepStrictEqual(before.get(key), after.get(key)) ? [] : [`changed: ${key}`];
  });
}
