/** Lists the exposures of a cluster for reports. */

import { findMeshConfig, type MeshConfig, type MeshView, type Place, type Resource, viewMesh } from '@meshpass/istio';
import { describeEntry, manifestKind } from './describe.ts';
import { resolveDestination } from './destination.ts';
import type { Enforcer } from './enforcer.ts';
import { listEnvoyFilterExposures } from './entries/envoy-filters.ts';
import { listGatewayRouteExposures } from './entries/gateway-routes.ts';
import { listIngressExposures } from './entries/ingresses.ts';
import { listPassthroughExposures } from './entries/passthrough.ts';
import { listPodExposures } from './entries/pods.ts';
import { listServiceExposures } from './entries/services.ts';
import { listVirtualServiceExposures } from './entries/virtual-services.ts';
import type { EntryKind, Exposure, Identity } from './exposure.ts';
import { type KnownMesh, listPassages, type Passage } from './identity.ts';
import { createNewPassageTest, type ExposedMesh } from './new-ways.ts';
import { type WitnessRequest, witnessRequest } from './witness.ts';

/** A path into the cluster from one entry point to one destination. */
export interface ExposureEntry {
  /** The position of the destination, or of the setting that publishes it. */
  readonly place: Place;
  /** The object at that position. Both Istio's and the Gateway API's gateways have the kind `Gateway`. */
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  readonly entry: {
    readonly kind: EntryKind;
    /** The namespace and name of the entry point's object, in the form `namespace/name`. */
    readonly name: string;
    /** The position of that object. Undefined if the resources do not contain it. */
    readonly place: Place | undefined;
    readonly ports: readonly number[];
    /** The proxy that accepts the calls: Istio's, another controller's, or none. */
    readonly proxy: 'istio' | 'controller' | 'none';
    /** A human-readable description, such as `Gateway istio-ingress/public (port 443 HTTPS)`. */
    readonly description: string;
  };
  /** Set to `internal` if the settings show that only a private network can reach the entry point. */
  readonly reach: 'external' | 'internal';
  /** The reason why the entry point is internal. Undefined if it is external. */
  readonly internal: string | undefined;
  readonly protocol: Exposure['protocol'];
  /** The hosts that a caller can use. `*` stands for any host. */
  readonly hosts: readonly string[];
  /**
   * The calls that the route accepts, as alternatives. A `path` that ends with `*` is a prefix, and one that starts
   * with `~` is a regular expression. If `path` or `method` is undefined, any value is accepted.
   */
  readonly calls: readonly { readonly method: string | undefined; readonly path: string | undefined }[];
  readonly destination: Exposure['destination'];
  readonly identityAtEntry: Identity;
  readonly identityAtWorkload: Identity;
  readonly enforcer: Enforcer;
  /** See {@link Passage.verdict}. */
  readonly verdict: Passage['verdict'];
  /**
   * An example of an anonymous request that is allowed. Undefined if there is none, or if no example could be found.
   */
  readonly witness: WitnessRequest | undefined;
  /** The reasons why the resources do not determine the verdict. Empty if they do. */
  readonly unknown: readonly string[];
}

/**
 * Options for {@link listExposures}. They default to the settings in the `istio` ConfigMap, if the resources contain
 * it.
 */
export interface ExposureOptions extends Partial<Pick<MeshConfig, 'rootNamespace' | 'clusterDomain'>> {
  /**
   * Whether the resources describe the whole mesh, as in a live cluster. If so, objects that are missing do not exist.
   */
  readonly complete?: boolean;
  /** The state before a change. If set, only the exposures that the change opens are listed. */
  readonly base?: readonly Resource[];
}

/**
 * Lists every path into the cluster, whether or not it is open, from each entry point to each destination. Each result
 * includes the identity that a caller needs at the entry point and at the workload, and the proxy that enforces it.
 * Entry points are Istio and Gateway API Gateways, gateways between networks, Ingresses, load balancers, node ports,
 * external addresses, host ports, host networks, EnvoyFilters and Sidecars.
 *
 * Callers are assumed to have no token and no certificate, and to call from an address that no policy lists. The
 * policies at each point are evaluated separately. If neither point rejects all calls on its own, the result is open,
 * even if both together would. If the resources do not determine the result, `verdict` is `unknown` and the `unknown`
 * field explains why.
 *
 * Results are sorted by file, line and column, then by entry point.
 * @param resources the mesh's objects, from files or from a cluster
 * @example
 * ```ts
 * import { listExposures } from '@meshpass/analysis/exposure';
 * import { loadManifests } from '@meshpass/istio';
 * const text = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {type: LoadBalancer, selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const [one] = listExposures(loadManifests(text, 'orders.yaml').resources, { complete: true });
 * one!.entry.kind; // => 'LoadBalancer'
 * one!.verdict; // => 'open'
 * one!.witness; // => { method: 'GET', url: 'http://HOST/', headers: {} }
 * ```
 */
export function listExposures(resources: readonly Resource[], options: ExposureOptions = {}): readonly ExposureEntry[] {
  const known = exposedMesh(resources, options);
  const isNew = options.base && createNewPassageTest(exposedMesh(options.base, options));
  return known.exposures
    .flatMap((exposure) =>
      listPassages(known, exposure)
        .filter((passage) => !isNew || (passage.verdict !== 'closed' && isNew(exposure, passage)))
        .map((passage) => toEntry(known, exposure, passage)),
    )
    .sort((a, b) => comparePlaces(a.place, b.place) || (a.entry.description < b.entry.description ? -1 : 1));
}

function exposedMesh(
  resources: readonly Resource[],
  { complete = false, base: _, ...given }: ExposureOptions,
): ExposedMesh {
  const mesh = viewMesh(resources, { ...findMeshConfig(resources), ...given });
  return { mesh, complete, exposures: [...meshExposures(mesh), ...listPassthroughExposures(mesh)] };
}

function toEntry({ mesh }: KnownMesh, exposure: Exposure, passage: Passage): ExposureEntry {
  const { entry, atEntry, atWorkload, enforcer, verdict } = passage;
  const { kind, metadata } = exposure.on;
  return {
    place: exposure.on.origin.at(exposure.destinationPath),
    object: { kind: manifestKind(kind), namespace: metadata.namespace, name: metadata.name },
    entry: {
      kind: entry.kind,
      name: entry.name,
      place: entry.object?.origin.at(['metadata', 'name']),
      ports: [...new Set(entry.ports.flatMap(({ number }) => number ?? []))],
      proxy: entry.proxy.by,
      description: describeEntry(entry),
    },
    reach: entry.internal === undefined ? 'external' : 'internal',
    internal: entry.internal,
    protocol: exposure.protocol,
    hosts: exposure.hosts,
    calls: exposure.matches.map(({ method, uri }) => ({
      method: method?.exact,
      path: uri?.exact ?? (uri?.prefix === undefined ? uri?.regex && `~${uri.regex}` : `${uri.prefix}*`),
    })),
    destination: exposure.destination,
    identityAtEntry: atEntry,
    identityAtWorkload: atWorkload,
    enforcer,
    verdict,
    witness: verdict === 'closed' ? undefined : witnessRequest(mesh, exposure, entry),
    unknown: [atEntry, atWorkload].filter(({ state }) => state === 'unknown').map(({ reason }) => reason),
  };
}

function comparePlaces(a: Place, b: Place): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column;
}

/**
 * Lists every path into the cluster: the routes of VirtualServices, the Gateway API and Ingresses, the published ports
 * of Services and Pods, and the routes and listeners that EnvoyFilters and Sidecars add.
 */
export function meshExposures(mesh: MeshView): readonly Exposure[] {
  return [
    ...listVirtualServiceExposures(mesh),
    ...listGatewayRouteExposures(mesh),
    ...listIngressExposures(mesh),
    ...listServiceExposures(mesh),
    ...listPodExposures(mesh),
    ...listEnvoyFilterExposures(mesh),
  ].flatMap((one) => resolveDestination(mesh, one));
}
