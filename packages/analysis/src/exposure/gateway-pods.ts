/** Pods of Istio's gateways, and the objects that istiod shows to them. */
import { memory, remembered } from '@meshpass/identity/memory/remembered';
import { type Exported, exportToOf, isExportedTo, type MeshView, type PodWorkload, selects } from '@meshpass/istio';
import { describeObject } from './describe.ts';
import type { EntryPoint, EntryProxy } from './exposure.ts';

export type IstioProxy = EntryProxy & { readonly by: 'istio' };

const memoryOf = remembered((_mesh: MeshView) => memory());

/** Lists the Pods among the objects that run a gateway, in every namespace unless it is confined. */
export function podsOfGateway(
  mesh: MeshView,
  { namespace, selector = {}, confined }: IstioProxy,
): readonly PodWorkload[] {
  if (Object.keys(selector).length === 0) return [];
  // Gateways of many namespaces select the same Pods.
  const key = JSON.stringify([confined && namespace, selector]);
  return memoryOf(mesh)(key, () => {
    const pods = confined && namespace !== undefined ? mesh.podsIn(namespace) : mesh.pods;
    return pods.filter((pod) => selects(selector, pod.labels));
  });
}

type ExportedObject = Exclude<Exported, { readonly kind: 'Service' }>;

/**
 * Determines how many Pods of an entry point get an object from istiod: the namespaces of the Pods decide, not that of the
 * Gateway object. Other controllers do not depend on istiod.
 */
export function readersOf(
  mesh: MeshView,
  { proxy }: Pick<EntryPoint, 'proxy'>,
  object: Exported,
): 'all' | 'some' | 'none' | 'unknown' {
  if (proxy.by !== 'istio' || exportToOf(object, mesh.config).includes('*')) return 'all';
  const places =
    proxy.confined && proxy.namespace !== undefined
      ? [proxy.namespace]
      : podsOfGateway(mesh, proxy).map((pod) => pod.namespace);
  const seen = new Set(places.map((place) => isExportedTo(object, place, mesh.config)));
  if (seen.size === 0) return 'unknown';
  if (seen.size > 1) return 'some';
  return seen.has(true) ? 'all' : 'none';
}

/** Explains why it is not known whether a gateway serves what an object defines. */
export function whyReadersUnknown({ name }: Pick<EntryPoint, 'name'>, object: ExportedObject): string {
  return `${describeObject(object)} is exported to some namespaces only, and those of the Pods of Gateway ${name} are not known`;
}

/** Returns the entry point as far as its Pods get one of the objects. Undefined if they do not. */
export function entryReading(
  mesh: MeshView,
  entry: EntryPoint,
  objects: readonly ExportedObject[],
): EntryPoint | undefined {
  const readers = objects.map((one) => readersOf(mesh, entry, one));
  if (readers.some((one) => one === 'all' || one === 'some')) return entry;
  const object = objects[readers.indexOf('unknown')];
  if (!object) return undefined;
  if (entry.own.state !== 'none') return entry;
  return { ...entry, own: { state: 'unknown', reason: whyReadersUnknown(entry, object) } };
}
