/**
 * Finds the Pods of Istio gateways, the objects that istiod sends to them, and the ports at which clients reach them.
 */
import { createMemo, memoize } from '@meshpass/identity';
import {
  type Exported,
  exportToOf,
  isExportedTo,
  isTcp,
  type MeshView,
  type PodWorkload,
  type Service,
  selects,
  targetPortOf,
  trustedProxiesOf,
} from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import { describeObject } from './describe.ts';
import type { EntryPoint, EntryProxy } from './exposure.ts';

export type IstioProxy = EntryProxy & { readonly by: 'istio' };

const memoryOf = memoize((_mesh: MeshView) => createMemo());

/** The members of a gateway's proxy that determine its Pods. */
export type GatewayPods = Pick<IstioProxy, 'namespace' | 'selector' | 'confined'>;

/** Lists the Pods that run a gateway. All namespaces are searched unless the gateway is confined to one. */
export function listGatewayPods(
  mesh: MeshView,
  { namespace, selector = {}, confined }: GatewayPods,
): readonly PodWorkload[] {
  if (Object.keys(selector).length === 0) return [];
  // The result is cached because gateways in many namespaces may select the same Pods.
  const key = JSON.stringify([confined && namespace, selector]);
  return memoryOf(mesh)(key, () => {
    const pods = confined && namespace !== undefined ? mesh.podsIn(namespace) : mesh.pods;
    return pods.filter((pod) => selects(selector, pod.labels));
  });
}

type ExportedObject = Exclude<Exported, { readonly kind: 'Service' }>;

/**
 * Determines how many of an entry point's Pods receive an object from istiod. This depends on the namespaces of the
 * Pods rather than that of the Gateway object. Other controllers do not depend on istiod.
 */
export function countReaders(
  mesh: MeshView,
  { proxy }: Pick<EntryPoint, 'proxy'>,
  object: Exported,
): 'all' | 'some' | 'none' | 'unknown' {
  if (proxy.by !== 'istio' || exportToOf(object, mesh.config).includes('*')) return 'all';
  const places =
    proxy.confined && proxy.namespace !== undefined
      ? [proxy.namespace]
      : listGatewayPods(mesh, proxy).map((pod) => pod.namespace);
  const seen = new Set(places.map((place) => isExportedTo(object, place, mesh.config)));
  if (seen.size === 0) return 'unknown';
  if (seen.size > 1) return 'some';
  return seen.has(true) ? 'all' : 'none';
}

/** Explains why it is unknown whether a gateway receives an object. */
export function whyReadersUnknown({ name }: Pick<EntryPoint, 'name'>, object: ExportedObject): string {
  return `${describeObject(object)} is exported to some namespaces only, and those of the Pods of Gateway ${name} are not known`;
}

/**
 * Returns the entry point if its Pods receive at least one of the objects, or undefined if they receive none. If it is
 * unknown whether they do, the identity that the entry point requires becomes unknown.
 */
export function restrictEntryPoint(
  mesh: MeshView,
  entry: EntryPoint,
  objects: readonly ExportedObject[],
): EntryPoint | undefined {
  const readers = objects.map((one) => countReaders(mesh, entry, one));
  if (readers.some((one) => one === 'all' || one === 'some')) return entry;
  const object = objects[readers.indexOf('unknown')];
  if (!object) return undefined;
  if (entry.own.state !== 'none') return entry;
  return { ...entry, own: { state: 'unknown', reason: whyReadersUnknown(entry, object) } };
}

/** Lists the distinct numbers of trusted proxies configured for a gateway's Pods. */
export function trustedHops(mesh: MeshView, proxy: IstioProxy): readonly number[] {
  const pods = listGatewayPods(mesh, proxy);
  const hops = pods.length > 0 ? pods.map((pod) => trustedProxiesOf(mesh, pod)) : [trustedProxiesOf(mesh, {})];
  return [...new Set(hops)];
}

/**
 * Lists the Service ports through which clients reach a server. Istio binds the server to the target port of the
 * Service port with the server's number, or to that number itself if there is no such Service port. If the files
 * contain no Service, clients are assumed to use the server's number. Source: `resolvePorts` in
 * pilot/pkg/model/gateway.go of Istio.
 */
export function clientPorts(mesh: MeshView, pods: IstioProxy, number: number): readonly number[] {
  const ports = servicePorts(mesh, pods);
  const own = ports.filter(({ port }) => port === number);
  const bound = own.length > 0 ? own.map(({ target }) => target) : [number];
  const found = ports.filter(({ port, target }) => port === number || (target !== undefined && bound.includes(target)));
  return found.length > 0 ? [...new Set(found.map(({ port }) => port))] : [number];
}

interface ServicePort {
  readonly port: number;
  /** The target port. Undefined if it is a port name that cannot be resolved. */
  readonly target: number | undefined;
}

/** Lists the Services whose selectors fit a gateway, which may be in front of its Pods if the files contain none. */
export function listFittingServices(
  mesh: MeshView,
  { namespace = mesh.config.rootNamespace, selector = {} }: GatewayPods,
): readonly Service[] {
  if (Object.keys(selector).length === 0) return [];
  return mesh.within('Service', namespace).filter(({ spec }) => {
    const given = labels(spec.selector);
    return Object.keys(given).length > 0 && (selects(given, selector) || selects(selector, given));
  });
}

function servicePorts(mesh: MeshView, proxy: GatewayPods): readonly ServicePort[] {
  const portsOf = (services: readonly Service[], names: ReadonlyMap<string, number>) =>
    services
      .flatMap(({ spec }) => items(spec.ports).filter(isTcp))
      .map((port) => ({ port: port.port, target: targetPortOf(names, port) }));
  const pods = listGatewayPods(mesh, proxy);
  if (pods.length > 0) return pods.flatMap((pod) => portsOf(mesh.servicesBefore(pod), pod.portNames));
  return portsOf(listFittingServices(mesh, proxy), new Map());
}
