/**
 * Determines which proxy enforces policies for a workload, and whether Meshpass can model that proxy. It can model an
 * unmodified Istio sidecar and a ztunnel. In all other cases (gateways, no proxy, patched proxies), the result is
 * unknown. See docs/decisions/0019-unknown.md.
 */

import { createMemo, memoize } from '@meshpass/identity';
import type { EnvoyFilter, ProxyExtension, Sidecar } from '../object/networking.ts';
import type { Labels } from '../object/object.ts';
import type { MeshObjects } from '../object/objects.ts';
import { identityOf } from '../object/order.ts';
import type { ResourceKind } from '../object/resources.ts';
import {
  isForSidecars,
  podSelector,
  selectorOf,
  selects,
  selectsPods,
  selectsSome,
  whyRestricted,
} from '../object/selection.ts';
import { hasProxy, isCaptured, whyNoSidecar } from './injection.ts';
import { anyPod, lastingLabels, type PodFacts } from './pod.ts';
import { BYPASS, bypassesZtunnel, DATAPLANE_MODE, type PodProxy, proxyOfPod } from './pod-proxy.ts';
import type { ProxyKind } from './proxy.ts';
import { servicesSelecting } from './service-index.ts';
import type { Workload } from './workload.ts';

/** The fields of a workload that policies use to select it. The namespace is empty if it is unknown. */
type SelectedWorkload = Pick<Workload, 'namespace' | 'labels'>;

export interface DataPlane {
  /** Returns the proxy in front of a workload. The result is only meaningful if `unknownAt` returns undefined. */
  readonly proxyOf: (workload: SelectedWorkload) => 'sidecar' | 'ztunnel';
  /**
   * Explains why verdicts about a port are unknown. Returns undefined if the port is guarded by an unmodified sidecar
   * or a ztunnel.
   * @param port the port of the Pod, or undefined for ports that no object declares
   */
  readonly unknownAt: (workload: SelectedWorkload, port: number | undefined) => string | undefined;
  /** Whether a workload is only assumed to have a sidecar, because its Namespace was not read. */
  readonly assumes: (workload: SelectedWorkload) => boolean;
  /** Whether a Pod or a Pod template with these labels was read. */
  readonly isThere: (workload: SelectedWorkload) => boolean;
}

/** Labels that templates do not have because the injector adds them later, and labels that select the proxy. */
const INJECTED = [
  DATAPLANE_MODE,
  'security.istio.io/tlsMode',
  'networking.istio.io/tunnel',
  'service.istio.io/canonical-name',
  'service.istio.io/canonical-revision',
];

/** The parts of the mesh model that the data plane is derived from. */
interface DataPlaneSource extends MeshObjects {
  readonly pods: readonly PodFacts[];
  readonly proxyKind: (labels: Labels) => ProxyKind;
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
}

/**
 * Determines the data plane of each workload.
 * @param rootNamespace the namespace whose EnvoyFilters and extensions apply to the whole mesh
 * @param unread the reason why some policies may not have been read. If set, the result is unknown for every workload
 */
export function resolveDataPlane(source: DataPlaneSource, rootNamespace: string, unread?: string): DataPlane {
  const { within, namespaceLabels } = source;
  const pods = Map.groupBy(source.pods, keyOf);
  /** Returns the objects that apply to the workloads of a namespace. Objects in the root namespace come first. */
  const applied = <Kind extends ResourceKind>(kinds: readonly Kind[], namespace: string) =>
    [...new Set([rootNamespace, namespace])].flatMap((place) => kinds.flatMap((kind) => within(kind, place)));
  const proxyOfFacts = memoize((pod: PodFacts) => proxyOfPod(source, pod));
  const once = createMemo();
  const byNamespace = createMemo();

  /** Explains why verdicts about all ports of a workload are unknown, or returns undefined. */
  const ofWorkload = (workload: SelectedWorkload, pods: readonly PodFacts[]): string | undefined =>
    WHY_GATEWAY[source.proxyKind(workload.labels)] ??
    (holdsAmbient(pods)
      ? (whyAmbientUnknown(pods) ?? whyUnselective(workload.namespace))
      : (whyWaypoint(workload) ?? whyBare(pods) ?? whyPatched(workload) ?? whyTerminated(workload))) ??
    whyRevised(workload);

  const isAmbient = (pod: PodFacts): boolean => ['ztunnel', 'unknown'].includes(proxyOfFacts(pod).proxy);
  const holdsAmbient = memoize((pods: readonly PodFacts[]) => pods.some(isAmbient));

  /** Explains why it is unknown which proxy guards Pods, of which at least one is in ambient mode. */
  const whyAmbientUnknown = (pods: readonly PodFacts[]): string | undefined => {
    if (!pods.every(isAmbient)) return 'some of its Pods are in ambient mode, and others are not';
    return pods
      .map((pod) => (bypassesZtunnel(pod.annotations) ? WHY_BYPASSED : reasonOf(proxyOfFacts(pod))))
      .find((why) => why !== undefined);
  };

  /**
   * Explains why a ztunnel may not enforce all policies of a namespace. istiod does not send a ztunnel any policy with
   * an empty selector, even though sidecars apply such a policy to every workload.
   */
  const whyUnselective = (namespace: string): string | undefined => {
    const policy = applied(['AuthorizationPolicy', 'PeerAuthentication'], namespace).find(
      ({ spec }) => spec.selector !== undefined && selectorOf({ spec }) === undefined,
    );
    return (
      policy && `the selector of ${identityOf(policy)} is empty: remove it, because a ztunnel may ignore the policy`
    );
  };

  const whyWaypoint = ({ namespace, labels }: SelectedWorkload): string | undefined => {
    const waypoint =
      waypointLabel(labels) ??
      waypointLabel(namespaceLabels(namespace)) ??
      servicesSelecting(within('Service', namespace), labels)
        .map(({ metadata }) => waypointLabel(metadata.labels))
        .find((name) => name !== undefined);
    return waypoint && `istio.io/use-waypoint sends calls through the waypoint ${waypoint}, which also enforces policy`;
  };

  const whyBare = (pods: readonly PodFacts[]): string | undefined => {
    const running = pods.filter((one) => one.running);
    const isInjected = running.length > 0 && running.every(hasProxy);
    // A sidecar that is already running proves that the namespace is injected, regardless of its labels.
    const reason = pods
      .map((pod) => (isInjected && !pod.running ? whyNoSidecar(pod, 'on') : reasonOf(proxyOfFacts(pod))))
      .find((why) => why !== undefined);
    return reason && `no standard sidecar: ${reason}`;
  };

  const whyPatched = ({ namespace, labels }: SelectedWorkload): string | undefined => {
    const patches = byNamespace(`patches ${namespace}`, () => applied(PATCHES, namespace).filter(isPatch));
    const patch = patches.find((one) => selects(podSelector(one), labels));
    return patch && `${identityOf(patch)} changes its proxy and may change which calls it accepts`;
  };

  const whyTerminated = ({ namespace, labels }: SelectedWorkload): string | undefined => {
    const sidecar = within('Sidecar', namespace).find(
      (one) => terminatesTls(one) && selects(one.spec.workloadSelector?.labels, labels),
    );
    return sidecar && `${identityOf(sidecar)} terminates TLS at its own ingress`;
  };

  const whyRevised = ({ namespace, labels }: SelectedWorkload): string | undefined => {
    const revised = byNamespace(`revised ${namespace}`, () =>
      applied(POLICIES, namespace).filter((one) => whyRestricted(one) !== undefined),
    );
    const policy = revised.find((one) => selectsPods(one, labels));
    return policy && whyRestricted(policy);
  };

  const ofPort = ({ namespace, labels }: SelectedWorkload, all: readonly PodFacts[], port: number | undefined) => {
    const around = all.some((pod) => !isCaptured(pod, port));
    if (around)
      return `${port === undefined ? 'such ports bypass' : `port ${port} bypasses`} the sidecar, so no policy applies`;
    if (port === undefined) return undefined;
    const entry = within('ServiceEntry', namespace).find(
      (one) =>
        selectsSome(one.spec.workloadSelector?.labels, labels) &&
        (one.spec.ports ?? []).some(({ number, targetPort }) => (targetPort || number) === port),
    );
    return entry && `${identityOf(entry)} also declares port ${port} and therefore affects which rules are evaluated`;
  };

  const factsOf = (workload: SelectedWorkload): readonly PodFacts[] => {
    const found = pods.get(keyOf(workload));
    if (found) return found;
    // Without any Pods, only the namespace can be checked.
    return [anyPod(workload.namespace, workload.labels)];
  };

  const proxyOf = (workload: SelectedWorkload) => (holdsAmbient(factsOf(workload)) ? 'ztunnel' : 'sidecar');

  return {
    proxyOf,
    unknownAt: (workload, port) => {
      if (unread !== undefined) return unread;
      const all = factsOf(workload);
      const why = once(keyOf(workload), () => ofWorkload(workload, all));
      return why ?? (proxyOf(workload) === 'ztunnel' ? undefined : ofPort(workload, all, port));
    },
    assumes: (workload) =>
      workload.namespace !== '' &&
      proxyOf(workload) === 'sidecar' &&
      factsOf(workload).some((pod) => 'assumed' in proxyOfFacts(pod)),
    isThere: (workload) => pods.has(keyOf(workload)),
  };
}

/**
 * Formats the warning that Pods in certain namespaces are assumed to have a sidecar. Returns undefined if this was not
 * assumed for any of them.
 * @example
 * ```ts
 * import { describeAssumption } from '@meshpass/istio';
 * describeAssumption(['shop', 'dev'])!.startsWith('Pods of dev and shop are assumed to have a sidecar'); // => true
 * describeAssumption([]); // => undefined
 * ```
 */
export function describeAssumption(namespaces: Iterable<string>): string | undefined {
  const names = [...new Set(namespaces)].sort();
  if (names.length === 0) return undefined;
  const shown = names.length > SHOWN ? [...names.slice(0, SHOWN), `${names.length - SHOWN} more namespaces`] : names;
  const last = shown.at(-1)!;
  const list = shown.length === 1 ? last : `${shown.slice(0, -1).join(', ')} and ${last}`;
  return `Pods of ${list} are assumed to have a sidecar, because ${names.length === 1 ? 'its Namespace was' : 'their Namespaces were'} not read.`;
}

const SHOWN = 10;

const WHY_GATEWAY: Readonly<Record<ProxyKind, string | undefined>> = {
  sidecar: undefined,
  gateway: 'it is a gateway, whose routes and TLS settings also affect access but are not evaluated',
  waypoint: 'it is a waypoint, whose own ports are not evaluated',
};

const WHY_BYPASSED = `${BYPASS} lets calls from outside ambient mode bypass the ztunnel`;

function reasonOf(found: PodProxy): string | undefined {
  return 'reason' in found ? found.reason : undefined;
}

function waypointLabel(labels: Labels | undefined): string | undefined {
  const name = labels?.['istio.io/use-waypoint'] || labels?.['istio.io/use-waypoint-canary'];
  return name && name !== 'none' ? name : undefined;
}

const POLICIES = ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'] as const;

const PATCHES = ['EnvoyFilter', 'WasmPlugin', 'TrafficExtension'] as const;

/** Whether an object changes how a workload's proxy handles inbound calls, or adds code to the proxy. */
function isPatch(one: EnvoyFilter | ProxyExtension): boolean {
  if (!isForSidecars(one)) return false;
  if (one.kind === 'EnvoyFilter') return (one.spec.configPatches ?? []).some(isInbound);
  const { match = [] } = one.spec;
  return match.length === 0 || match.some(({ mode }) => mode !== 'CLIENT');
}

/**
 * Whether a patch affects inbound calls. Cluster patches only take effect after a call has been accepted. Patches for
 * outbound calls and for gateways do not matter here.
 */
function isInbound({ applyTo, match }: NonNullable<EnvoyFilter['spec']['configPatches']>[number]): boolean {
  return applyTo !== 'CLUSTER' && match?.context !== 'SIDECAR_OUTBOUND' && match?.context !== 'GATEWAY';
}

function terminatesTls({ spec }: Sidecar): boolean {
  return (spec.ingress ?? []).some((listener) => listener?.tls !== undefined);
}

function keyOf({ namespace, labels }: SelectedWorkload): string {
  const lasting = Object.entries(lastingLabels(labels)).filter(([name]) => !INJECTED.includes(name));
  return `${namespace} ${JSON.stringify(lasting)}`;
}
