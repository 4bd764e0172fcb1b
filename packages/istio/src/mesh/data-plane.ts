/**
 * What stands before a workload, as far as it decides whether policies mean there what we take them to mean: a sidecar of Istio that
 * nobody has changed. Of everything else (ztunnel, waypoints, gateways, no proxy, patched proxies) nothing is concluded.
 * docs/decisions/0019-unknown.md says what was chosen and why.
 */

import type { EnvoyFilter, ProxyExtension, Sidecar } from '../object/networking.ts';
import type { Labels } from '../object/object.ts';
import type { MeshObjects } from '../object/objects.ts';
import { isForSidecars, selects } from '../object/selection.ts';
import {
  hasProxy,
  isAssumed,
  isCaptured,
  type NamespaceInjection,
  namespaceInjection,
  whyNoSidecar,
} from './injection.ts';
import { lastingLabels, type PodFacts } from './pod.ts';
import type { ProxyKind } from './proxy.ts';
import type { Workload } from './workload.ts';

/** A workload by what policies select it by. The namespace is empty for a workload of which nothing is known. */
export type SelectedWorkload = Pick<Workload, 'namespace' | 'labels'>;

export interface DataPlane {
  /**
   * Why nothing can be said of calls to a port of a workload; undefined where a sidecar as we understand it guards that port.
   * @param port of the Pod; undefined for any that nobody names
   */
  readonly unknownAt: (workload: SelectedWorkload, port: number | undefined) => string | undefined;
  /** Whether a workload is taken to have a sidecar only because its Namespace is not among what was read. */
  readonly assumes: (workload: SelectedWorkload) => boolean;
  /** Whether a Pod, or what makes Pods, with these labels was read. */
  readonly isThere: (workload: SelectedWorkload) => boolean;
}

/** Labels of the injector's own, which a Pod has and its template has not. */
const INJECTED = [
  'security.istio.io/tlsMode',
  'service.istio.io/canonical-name',
  'service.istio.io/canonical-revision',
];

/** What of the model the data plane is read from. */
export interface DataPlaneSource extends MeshObjects {
  readonly pods: readonly PodFacts[];
  readonly proxyKind: (labels: Labels) => ProxyKind;
}

/**
 * What guards each workload of a mesh.
 * @param rootNamespace whose EnvoyFilters and extensions are for the whole mesh
 * @param unread why not everything was read that may hold policies; nothing can be said of any workload then
 * @example
 * ```ts
 * import { dataPlane, loadManifests } from '@meshpass/istio';
 * const pod = '{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {hostNetwork: true}}';
 * const plane = dataPlane(loadManifests(pod, 'pod.yaml').resources, 'istio-system');
 * plane.unknownAt({ namespace: 'shop', labels: { app: 'db' } }, 5432) === undefined; // => false
 * ```
 */
export function dataPlane(source: DataPlaneSource, rootNamespace: string, unread?: string): DataPlane {
  const { all: of, within } = source;
  const namespaces = new Map<string, Labels>();
  for (const { metadata } of of('Namespace')) namespaces.set(metadata.name, metadata.labels ?? {});
  const pods = Map.groupBy(source.pods, keyOf);
  const patches = Map.groupBy(
    PATCHES.flatMap((kind) => of(kind).filter(isPatch)),
    ({ metadata }) => metadata.namespace,
  );
  const injectionOf = (namespace: string): NamespaceInjection =>
    namespaceInjection(namespace, namespaces.get(namespace));
  const known = new Map<string, string | undefined>();

  /** What holds for every port alike. */
  const ofWorkload = (workload: SelectedWorkload, factsOfAll: readonly PodFacts[]): string | undefined => {
    const { namespace, labels } = workload;
    const gateway = WHY_GATEWAY[source.proxyKind(labels)];
    if (gateway) return gateway;
    const ofNamespace = namespaces.get(namespace) ?? {};
    const ambient = whyAmbient(namespace, ofNamespace, labels, factsOfAll);
    if (ambient) return ambient;
    const waypoint =
      waypointOf(labels) ??
      waypointOf(ofNamespace) ??
      within('Service', namespace)
        .filter((one) => waypointOf(one.metadata.labels) && selectsSome(one.spec.selector, labels))
        .map(({ metadata }) => waypointOf(metadata.labels))[0];
    if (waypoint) return `istio.io/use-waypoint sends calls through the waypoint ${waypoint}, which decides too`;
    const running = factsOfAll.filter((one) => one.running);
    const injected = running.length > 0 && running.every(hasProxy);
    for (const pod of factsOfAll) {
      // What runs shows that the namespace is injected, whoever says so.
      const why = whyNoSidecar(pod, injected && !pod.running ? 'on' : injectionOf(namespace));
      if (why) return `no sidecar that is understood: ${why}`;
    }
    const patch = [...new Set([rootNamespace, namespace])]
      .flatMap((place) => patches.get(place) ?? [])
      .find((one) => selects(selectorOf(one), labels));
    if (patch)
      return `${patch.kind} ${patch.metadata.namespace}/${patch.metadata.name} changes its proxy, and may change what it lets in`;
    const sidecar = within('Sidecar', namespace).find(
      (one) => terminatesTls(one) && selects(one.spec.workloadSelector?.labels, labels),
    );
    return sidecar && `Sidecar ${namespace}/${sidecar.metadata.name} ends TLS by itself at its ingress`;
  };

  const ofPort = ({ namespace, labels }: SelectedWorkload, all: readonly PodFacts[], port: number | undefined) => {
    const around = all.some((pod) => !isCaptured(pod, port));
    if (around)
      return `${port === undefined ? 'such ports are' : `port ${port} is`} served around the sidecar: no policy holds for it`;
    if (port === undefined) return undefined;
    const entry = within('ServiceEntry', namespace).find(
      (one) =>
        selectsSome(one.spec.workloadSelector?.labels, labels) &&
        (one.spec.ports ?? []).some(({ number, targetPort }) => (targetPort || number) === port),
    );
    return (
      entry &&
      `ServiceEntry ${namespace}/${entry.metadata.name} declares port ${port}, too, and so which rules are evaluated`
    );
  };

  const factsOf = (workload: SelectedWorkload): readonly PodFacts[] => {
    const found = pods.get(keyOf(workload));
    if (found) return found;
    // Of a namespace that is not known there is nothing to be read of a Pod that is not known.
    return [{ ...workload, annotations: {}, pod: {}, running: false }];
  };

  return {
    unknownAt: (workload, port) => {
      if (unread !== undefined) return unread;
      const all = factsOf(workload);
      const key = keyOf(workload);
      if (!known.has(key)) known.set(key, ofWorkload(workload, all));
      return known.get(key) ?? ofPort(workload, all, port);
    },
    assumes: (workload) =>
      workload.namespace !== '' && factsOf(workload).some((pod) => isAssumed(pod, injectionOf(workload.namespace))),
    isThere: (workload) => pods.has(keyOf(workload)),
  };
}

/**
 * `Pods of dev and shop are taken to have a sidecar: ...`; undefined where nothing is assumed.
 * @example
 * ```ts
 * import { describeAssumption } from '@meshpass/istio';
 * describeAssumption(['shop', 'dev'])!.startsWith('Pods of dev and shop are taken to have a sidecar'); // => true
 * describeAssumption([]); // => undefined
 * ```
 */
export function describeAssumption(namespaces: Iterable<string>): string | undefined {
  const names = [...new Set(namespaces)].sort();
  if (names.length === 0) return undefined;
  const shown = names.length > SHOWN ? [...names.slice(0, SHOWN), `${names.length - SHOWN} more namespaces`] : names;
  const last = shown.at(-1)!;
  const list = shown.length === 1 ? last : `${shown.slice(0, -1).join(', ')} and ${last}`;
  return `Pods of ${list} are taken to have a sidecar: ${names.length === 1 ? 'its Namespace is' : 'their Namespaces are'} not among what was read.`;
}

const SHOWN = 10;

const WHY_GATEWAY: Readonly<Record<ProxyKind, string | undefined>> = {
  sidecar: undefined,
  gateway: 'it is a gateway: its routes and TLS settings decide, too, and are not evaluated',
  waypoint: 'it is a waypoint, whose verdicts were never compared with a real one',
};

/** As the CNI agent enrols Pods (cni/pkg/util/podutil.go): one with a sidecar is left alone, and so is one that says `none`. */
function whyAmbient(
  namespace: string,
  ofNamespace: Labels,
  labels: Labels,
  pods: readonly PodFacts[],
): string | undefined {
  const mode = 'istio.io/dataplane-mode';
  const redirected = pods.some(({ annotations }) => annotations['ambient.istio.io/redirection'] !== undefined);
  if (!redirected && pods.length > 0 && pods.every(hasProxy)) return undefined;
  const chosen = labels[mode] ?? ofNamespace[mode];
  if (!redirected && chosen !== 'ambient') return undefined;
  const by = redirected || labels[mode] === 'ambient' ? 'it is' : `namespace ${namespace} is`;
  return `${by} in ambient mode, where ztunnel and waypoints decide`;
}

function waypointOf(labels: Labels | undefined): string | undefined {
  const name = labels?.['istio.io/use-waypoint'] || labels?.['istio.io/use-waypoint-canary'];
  return name && name !== 'none' ? name : undefined;
}

const PATCHES = ['EnvoyFilter', 'WasmPlugin', 'TrafficExtension'] as const;

/** Whether an object patches the proxy of a workload, or adds code to it, on the way in. */
function isPatch(one: EnvoyFilter | ProxyExtension): boolean {
  if (!isForSidecars(one)) return false;
  if (one.kind === 'EnvoyFilter') return (one.spec.configPatches ?? []).some(isInbound);
  const { match = [] } = one.spec;
  return match.length === 0 || match.some(({ mode }) => mode !== 'CLIENT');
}

/** A cluster says where a call goes after it was let in; of the way out and of gateways nothing is asked here. */
function isInbound({ applyTo, match }: NonNullable<EnvoyFilter['spec']['configPatches']>[number]): boolean {
  return applyTo !== 'CLUSTER' && match?.context !== 'SIDECAR_OUTBOUND' && match?.context !== 'GATEWAY';
}

function selectorOf(one: EnvoyFilter | ProxyExtension): Labels | undefined {
  return one.kind === 'EnvoyFilter' ? one.spec.workloadSelector?.labels : one.spec.selector?.matchLabels;
}

function terminatesTls({ spec }: Sidecar): boolean {
  return (spec.ingress ?? []).some((listener) => listener?.tls !== undefined);
}

/** An empty selector selects nobody. */
function selectsSome(selector: Labels | undefined, labels: Labels): boolean {
  return Object.keys(selector ?? {}).length > 0 && selects(selector, labels);
}

function keyOf({ namespace, labels }: SelectedWorkload): string {
  const lasting = Object.entries(lastingLabels(labels)).filter(([name]) => !INJECTED.includes(name));
  return `${namespace} ${JSON.stringify(lasting)}`;
}
