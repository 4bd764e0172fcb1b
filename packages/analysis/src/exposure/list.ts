/** The list of ways into the cluster, for reports. */

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

/** Way into the cluster: from one entry point to one destination. */
export interface ExposureEntry {
  /** Line of the destination, or of the setting that publishes it. */
  readonly place: Place;
  /** Object at that line. A Gateway of the Gateway API has the kind `Gateway`. */
  readonly object: { readonly kind: string; readonly namespace: string; readonly name: string };
  readonly entry: {
    readonly kind: EntryKind;
    /** `namespace/name` of the entry point's object. */
    readonly name: string;
    /** Position of that object; undefined if it is not among the resources. */
    readonly place: Place | undefined;
    readonly ports: readonly number[];
    /** Proxy that accepts the calls: of Istio, of another controller, or none. */
    readonly proxy: 'istio' | 'controller' | 'none';
    /** In words, such as `Gateway istio-ingress/public (port 443 HTTPS)`. */
    readonly description: string;
  };
  /** `internal` if only a private network reaches the entry point, as far as its settings show. */
  readonly reach: 'external' | 'internal';
  /** Why it is internal. */
  readonly internal: string | undefined;
  readonly protocol: Exposure['protocol'];
  /** Hosts under which it is reached; `*` for any. */
  readonly hosts: readonly string[];
  /** Alternatives. `path` ends with `*` for a prefix and begins with `~` for a regular expression; undefined for any. */
  readonly calls: readonly { readonly method: string | undefined; readonly path: string | undefined }[];
  readonly destination: Exposure['destination'];
  readonly identityAtEntry: Identity;
  readonly identityAtWorkload: Identity;
  readonly enforcer: Enforcer;
  /** See {@link Passage.verdict}. */
  readonly verdict: Passage['verdict'];
  /** Request of a caller without an identity that gets through; undefined if none does or no example is known. */
  readonly witness: WitnessRequest | undefined;
  /** Reasons why the resources do not decide; empty if they do. */
  readonly unknown: readonly string[];
}

/** Settings for {@link listExposures}; those of the ConfigMap `istio` among the resources are the defaults. */
export interface ExposureOptions extends Partial<Pick<MeshConfig, 'rootNamespace' | 'clusterDomain'>> {
  /** Whether the resources cover the whole mesh (a live cluster), so that a missing object does not exist. */
  readonly complete?: boolean;
  /** State before a change. Only ways that the change opens are listed then. */
  readonly base?: readonly Resource[];
}

/**
 * Lists every way into the cluster, open or not: from each entry point (Gateways of Istio and of the Gateway API,
 * gateways between networks, Ingresses, load balancers, node ports, external addresses, ports and networks of nodes,
 * EnvoyFilters and Sidecars) to each destination, with the identity that a caller needs at the entry point and at the
 * workload, and the proxy that enforces it.
 *
 * Callers are assumed to have no token and no certificate, and an address that no policy lists. Policies of each point
 * are evaluated on their own, so that two that refuse all calls only together count as open. Nothing is guessed: if the
 * resources do not decide, `verdict` is `unknown`, and `unknown` says why.
 *
 * Sorted by file, line and column, then by entry point.
 * @param resources objects of the mesh, from files or from a cluster
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
 * Lists every way into the cluster: routes of VirtualServices, of the Gateway API and of Ingresses, published ports of
 * Services and Pods, and what EnvoyFilters and Sidecars add.
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
