/** Lists the exposures of a cluster for reports. */

import { findMeshConfig, type MeshConfig, type MeshView, type Place, type Resource, viewMesh } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
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

/** Way into the cluster, from one entry point to one destination. */
export interface ExposureEntry {
  /** Line of the destination, or of the setting that publishes it. */
  readonly place: Place;
  /** Object at that line. The kind of a Gateway API Gateway is `Gateway`. */
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  readonly entry: {
    readonly kind: EntryKind;
    /** `namespace/name` of the entry point's object. */
    readonly name: string;
    /** Position of that object. Undefined if the resources do not contain it. */
    readonly place: Place | undefined;
    readonly ports: readonly number[];
    /** Proxy that accepts the calls: Istio's, another controller's, or none. */
    readonly proxy: 'istio' | 'controller' | 'none';
    /** Human-readable description, such as `Gateway istio-ingress/public (port 443 HTTPS)`. */
    readonly description: string;
  };
  /** `internal` if the settings show that only a private network can reach the entry point. */
  readonly reach: 'external' | 'internal';
  /** Why the entry point is internal. Undefined if it is external. */
  readonly internal: string | undefined;
  readonly protocol: Exposure['protocol'];
  /** Hosts that a caller can use; `*` for any. */
  readonly hosts: readonly string[];
  /** Alternatives. A `path` that ends with `*` is a prefix, one that starts with `~` a regex; undefined matches any. */
  readonly calls: readonly { readonly method: string | undefined; readonly path: string | undefined }[];
  readonly destination: Exposure['destination'];
  readonly identityAtEntry: Identity;
  readonly identityAtWorkload: Identity;
  readonly enforcer: Enforcer;
  /** See {@link Passage.verdict}. */
  readonly verdict: Passage['verdict'];
  /** Example of an anonymous request that gets through. Undefined if none does or no example is known. */
  readonly witness: WitnessRequest | undefined;
  /** Reasons why the resources do not determine the verdict. Empty if they do. */
  readonly unknown: readonly string[];
}

/** Settings for {@link listExposures}. They default to those of the ConfigMap `istio` in the resources. */
export interface ExposureOptions extends Partial<Pick<MeshConfig, 'rootNamespace' | 'clusterDomain'>> {
  /** Whether the resources cover the whole mesh (a live cluster). If so, a missing object does not exist. */
  readonly complete?: boolean;
  /** State before a change. If set, only ways that the change opens are listed. */
  readonly base?: readonly Resource[];
}

/**
 * Lists every way into the cluster, open or not, from each entry point to each destination. Each result includes the
 * identity that a caller needs at the entry point and at the workload, and the proxy that enforces it. Entry points are
 * Istio and Gateway API Gateways, gateways between networks, Ingresses, load balancers, node ports, external addresses,
 * host ports, host networks, EnvoyFilters and Sidecars.
 *
 * Callers are assumed to have no token and no certificate, and to call from an address that no policy lists. The
 * policies at each point are evaluated separately. If two points together refuse all calls but neither does on its own,
 * the result is open. If the resources do not determine the result, `verdict` is `unknown`, and the `unknown` member
 * explains why.
 *
 * Results are sorted by file, line and column, then by entry point.
 * @param resources mesh objects from files or from a cluster
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
      ports: distinct(
        entry.ports.flatMap(({ number }) => number ?? []),
        String,
      ),
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
 * Lists every way into the cluster: routes of VirtualServices, the Gateway API and Ingresses, published ports of
 * Services and Pods, and routes and listeners that EnvoyFilters and Sidecars add.
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
