/**
 * Determines which identity a caller needs at an entry point and at the workload behind it. Each of these points is
 * evaluated separately. If neither point rejects all calls on its own, the result is open, even if the two points
 * together would reject them.
 */

import { createMemo, memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  authorizationPolicies,
  type Gateway,
  type HttpMatch,
  isForSidecars,
  isTcp,
  type Labels,
  type MeshView,
  peerModesOf,
  type Service,
  selectorOf,
  selects,
  serviceName,
  targetPortOf,
  type Workload,
} from '@meshpass/istio';
import { distinct, items, labels, listed, record } from '@meshpass/istio/members';
import type { PortPolicy } from '../diff/port-policy.ts';
import type { Protocol } from '../diff/workloads.ts';
import { rewrittenMatches } from '../routes/rewrite.ts';
import { describeObject } from './describe.ts';
import { type Enforcer, findEnforcer, indexEnforcedPolicies, isPod, policiesAt } from './enforcer.ts';
import type { EntryPoint, EntryProxy, Exposure, Identity } from './exposure.ts';
import { type GatewayPods, type IstioProxy, listGatewayPods } from './gateway-pods.ts';
import { findPublication } from './internal.ts';
import { findAddedCheck, type Patch, patchesAt, possiblePatches, unknownIfWidened } from './patches.ts';
import { findAllowedCall, type Peer, type UnauthenticatedCalls } from './unauthenticated.ts';

/** A mesh, and whether it was read completely. In a complete mesh, an object that is missing does not exist. */
export interface KnownMesh {
  readonly mesh: MeshView;
  readonly complete: boolean;
}

/** A path through one entry point of an exposure, along with the identities that it requires. */
export interface Passage {
  readonly entry: EntryPoint;
  readonly atEntry: Identity;
  readonly atWorkload: Identity;
  /** The proxy in front of the workload. If there are several workloads, the proxy with the weakest checks. */
  readonly enforcer: Enforcer;
  /**
   * The result for an anonymous caller. `open` means that the files show that the caller's request is allowed.
   * `unknown` means that nothing in the files rejects it, but something outside them might. `closed` means that an
   * identity is required, or assumed to be required.
   */
  readonly verdict: 'open' | 'unknown' | 'closed';
}

/** Determines which identities each entry point of an exposure requires. */
export function listPassages(known: KnownMesh, exposure: Exposure): readonly Passage[] {
  return passagesIn(known)(exposure);
}

const passagesIn = memoize((known: KnownMesh) =>
  memoize((exposure: Exposure) =>
    exposure.entries.map((entry): Passage => {
      const atEntry = identityAtEntry(known, exposure, entry);
      const { enforcer, ...atWorkload } = identityAtWorkload(known, exposure, entry);
      return { entry, atEntry, atWorkload, enforcer, verdict: verdictOf(atEntry, atWorkload) };
    }),
  ),
);

/**
 * Lists the passages through which an anonymous caller on the internet may reach a workload. Passages from private
 * networks are not included, because the network's owner chose that boundary.
 */
export function publicPassages(known: KnownMesh, exposure: Exposure): readonly Passage[] {
  return openPassages(known, exposure).filter(({ entry }) => entry.internal === undefined);
}

/** Lists the passages through which an anonymous caller may reach a workload. */
export function openPassages(known: KnownMesh, exposure: Exposure): readonly Passage[] {
  return listPassages(known, exposure).filter(({ verdict }) => verdict !== 'closed');
}

function verdictOf(...identities: readonly Identity[]): Passage['verdict'] {
  if (identities.some(({ state }) => state === 'required' || state === 'assumed')) return 'closed';
  return identities.some(({ state }) => state === 'unknown') ? 'unknown' : 'open';
}

function identityAtEntry(known: KnownMesh, exposure: Exposure, entry: EntryPoint): Identity {
  const { proxy } = entry;
  const found = unpatchedAtEntry(known, exposure, entry);
  return unknownIfWidened(found, 'GATEWAY', () => patchesAtEntry(known.mesh, proxy), found === entry.own);
}

/** Lists the objects that change a gateway's proxies, including those that only might. */
export function patchesAtEntry(mesh: MeshView, proxy: EntryProxy): readonly Patch[] {
  if (proxy.by !== 'istio') return [];
  return memoryOf(mesh)(`patches ${keyOf(proxy)}`, () => {
    const { selector, confined } = proxy;
    const home = homeOf(mesh, proxy);
    if (!selector) return possiblePatches(mesh, home, undefined);
    const known = gatewayProxies(mesh, proxy).flatMap((one) => patchesAt(mesh, 'GATEWAY', one));
    const isElsewhere = !confined && listGatewayPods(mesh, proxy).length === 0;
    return [...new Set([...known, ...(isElsewhere ? possiblePatches(mesh, home, selector) : [])])];
  });
}

/** Lists the objects that change the proxies of a destination's workloads. */
export function patchesAtWorkloads(
  mesh: MeshView,
  exposure: Pick<Exposure, 'destination' | 'service' | 'pod'>,
): readonly Patch[] {
  return [...new Set(workloadsBehind(mesh, exposure).flatMap((proxy) => patchesAt(mesh, 'SIDECAR_INBOUND', proxy)))];
}

function unpatchedAtEntry(known: KnownMesh, exposure: Exposure, entry: EntryPoint): Identity {
  if (exposure.matches.length > 0 && exposure.matches.every(needsClaim))
    return { state: 'required', reason: 'the match needs a verified claim' };
  const { own, proxy } = entry;
  if (own.state === 'required' || own.state === 'assumed' || proxy.by !== 'istio') return own;
  if (proxy.withoutPolicies) return own;
  const byProxy = entryEnforcementPoints(known.mesh, exposure, entry).map((points) => ({
    proxy: points[0]!.proxy,
    identity: identityAtProxy(known.mesh, points, entry),
  }));
  const seen = byProxy.filter((one) => isPod(one.proxy));
  const home = homeOf(known.mesh, proxy);
  // If the mesh was read completely, there are no Pods besides those in the files.
  const others = known.complete && seen.length > 0 ? [] : byProxy.filter((one) => !isPod(one.proxy));
  const needed = [...seen, ...others.filter((one) => one.proxy.namespace === home)];
  const open = needed.filter(({ identity }) => identity === undefined);
  if (needed.length > 0 && open.length === 0) {
    return weakest(needed.map(({ identity }) => ({ identity: identity! }))).identity;
  }
  // Anyone may be able to create Pods and policies in other namespaces, so they prove nothing about the Gateway.
  const places = [...seen, ...others].flatMap((one) => (one.identity ? [one.proxy.namespace] : []));
  if (places.length === 0 || own.state === 'unknown' || open.some((one) => isPod(one.proxy))) return own;
  return { state: 'unknown', reason: `policies refuse other calls only if ${podsAreIn(places)}` };
}

/** Determines which identity a gateway's proxy requires. Returns undefined if it lets anonymous callers through. */
function identityAtProxy(
  mesh: MeshView,
  points: readonly EnforcementPoint[],
  { ports }: EntryPoint,
): Identity | undefined {
  const reason = 'policies at the gateway refuse other calls';
  const { proxy } = points[0]!;
  const refused = points.every((one) => isRefused(mesh, one));
  const byAddress = refused ? refusedByAddress(mesh, points, mesh.servicesBefore(proxy)) : undefined;
  if (refused && !byAddress) return { state: 'required', reason };
  const check = findAddedCheck(mesh, 'GATEWAY', proxy, listenerPorts(mesh, proxy, ports));
  if (check !== undefined) return { state: 'assumed', reason: check };
  if (byAddress || !points.some((one) => answerAt(mesh, one) === 'too large')) return byAddress;
  return { state: 'unknown', reason: 'policies at the gateway are too large to evaluate' };
}

/** Lists the ports of an entry point, along with the Pod ports that Services map them to. */
export function listenerPorts(mesh: MeshView, proxy: Workload, ports: EntryPoint['ports']): readonly number[] {
  const stated = ports.flatMap(({ number }) => number ?? []);
  const mapped = mesh
    .servicesBefore(proxy)
    .flatMap(({ spec }) => items(spec.ports).filter(({ port }) => stated.includes(port ?? 0)))
    .flatMap((port) => targetPortOf(proxy.portNames, port) ?? []);
  return [...stated, ...mapped];
}

/**
 * Explains why the addresses that policies allow may include those of nodes. A Service replaces the caller's address
 * with a node's address unless its `externalTrafficPolicy` is Local. Returns undefined if the policies also reject
 * calls from nodes.
 * Source: https://kubernetes.io/docs/tutorials/services/source-ip/
 */
function refusedByAddress(
  mesh: MeshView,
  points: readonly EnforcementPoint[],
  services: readonly Service[],
): Identity | undefined {
  const through = services.find((one) => findPublication(one) && one.spec.externalTrafficPolicy !== 'Local');
  const isRefusedThere = (one: EnforcementPoint) =>
    isRefused(mesh, { ...one, calls: { ...one.calls, throughNodes: true } });
  if (!through || points.every(isRefusedThere)) return undefined;
  const { namespace, name } = through.metadata;
  const reason = `policies allow private addresses, and calls through Service ${namespace}/${name} may have the address of a node (its externalTrafficPolicy is not Local)`;
  return { state: 'unknown', reason };
}

function podsAreIn(places: readonly string[]): string {
  return `the gateway's Pods are in ${listed([...new Set(places)])}`;
}

/**
 * Checks whether a match requires a claim from a verified token. Without a RequestAuthentication, such a match never
 * applies. Source: https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
 */
export function needsClaim({ headers }: HttpMatch): boolean {
  return Object.keys(record(headers)).some((name) => name.startsWith('@request.auth.claims'));
}

/** The anonymous calls that reach one proxy through one entry point, and the policies that apply there. */
export interface EnforcementPoint {
  /** The proxy of a gateway or workload. If the files do not contain its Pods, only its labels are known. */
  readonly proxy: Workload;
  /** The port of the proxy. Undefined for ports that no object specifies. */
  readonly port: number | undefined;
  readonly calls: UnauthenticatedCalls;
  readonly portPolicy: PortPolicy;
}

/** An enforcement point in front of a workload. */
export interface WorkloadPoint extends EnforcementPoint {
  /** The proxy that enforces `portPolicy`. */
  readonly enforcer: Enforcer;
}

/** Lists the enforcement points of each Pod of a gateway. */
export function entryEnforcementPoints(
  mesh: MeshView,
  { hosts, matches, protocol }: Exposure,
  { proxy }: EntryPoint,
): readonly (readonly EnforcementPoint[])[] {
  if (proxy.by !== 'istio' || !proxy.selector) return [];
  const calls: UnauthenticatedCalls = { peers: [], hosts, matches };
  const portPolicies = guardsAt(mesh, proxy, protocol === 'http' ? 'http' : 'tcp');
  return portPolicies.map((ofProxy) => ofProxy.map((one) => ({ ...one, calls })));
}

type Guards = readonly (readonly Omit<EnforcementPoint, 'calls'>[])[];

/** Returns the namespace in which a gateway's Pods are expected to run. */
function homeOf({ config }: MeshView, { namespace }: GatewayPods): string {
  return namespace ?? config.rootNamespace;
}

/** Caches results for each mesh. A gateway has many routes, but most of its Pods and ports have the same policies. */
const memoryOf = memoize((_mesh: MeshView) => createMemo());

function guardsAt(mesh: MeshView, proxy: IstioProxy, protocol: Protocol): Guards {
  return memoryOf(mesh)(`guards ${protocol} ${keyOf(proxy)}`, (): Guards => {
    const { gateways: policies } = indexEnforcedPolicies(mesh);
    const byProxy = gatewayProxies(mesh, proxy).map((one) => {
      // The files may not contain the Service that maps the server's port to a Pod port.
      const all = [undefined, ...policies.portsNamed].map((port) => ({
        proxy: one,
        port,
        portPolicy: policies.at(one, port, protocol),
      }));
      return distinct(all, ({ portPolicy }) => portPolicy.key);
    });
    return distinct(byProxy, (ofProxy) => {
      const check = findAddedCheck(mesh, 'GATEWAY', ofProxy[0]!.proxy) ?? '';
      const patches = patchesAt(mesh, 'GATEWAY', ofProxy[0]!.proxy).map(describeObject);
      return JSON.stringify([check, patches, ...ofProxy.map(({ portPolicy }) => portPolicy.key)]);
    });
  });
}

/** Lists the proxies of a gateway that have different policies. */
export function gatewayProxiesByPolicy(mesh: MeshView, proxy: IstioProxy): readonly Workload[] {
  return guardsAt(mesh, proxy, 'http').map(([point]) => point!.proxy);
}

function keyOf({ namespace, selector, confined }: IstioProxy): string {
  return JSON.stringify([namespace, selector, confined]);
}

/** Determines the identity that the workloads behind an entry point require. The weakest checks are decisive. */
function identityAtWorkload(
  known: KnownMesh,
  exposure: Exposure,
  entry: EntryPoint,
): Identity & { readonly enforcer: Enforcer } {
  const points = workloadEnforcementPoints(known.mesh, exposure, entry).map((point) => ({
    enforcer: point.enforcer,
    identity: identityAt(known, point, entry),
  }));
  if (points.length === 0) {
    const outside = exposure.external?.spec.location === 'MESH_INTERNAL' ? ELSEWHERE : OUTSIDE;
    return { ...outside, enforcer: { proxy: outside === OUTSIDE ? 'none' : 'unknown', reason: outside.reason } };
  }
  const { identity, enforcer } = weakest(points);
  return { ...identity, enforcer };
}

const WEAKEST_FIRST = ['none', 'unknown', 'assumed', 'required'] as const;

function weakest<T extends { readonly identity: Identity }>(all: readonly T[]): T {
  return WEAKEST_FIRST.flatMap((state) => all.find(({ identity }) => identity.state === state) ?? [])[0]!;
}

const OUTSIDE: Identity = { state: 'none', reason: 'the destination is outside the mesh' };
const ELSEWHERE: Identity = { state: 'unknown', reason: 'the workloads of its ServiceEntry are not among these files' };

function identityAt(known: KnownMesh, point: WorkloadPoint, entry: EntryPoint): Identity {
  const found = unpatchedAt(known, point, entry);
  if (point.enforcer.proxy !== 'sidecar') return found;
  return unknownIfWidened(found, 'SIDECAR_INBOUND', () => patchesAt(known.mesh, 'SIDECAR_INBOUND', point.proxy));
}

function unpatchedAt(known: KnownMesh, point: WorkloadPoint, entry: EntryPoint): Identity {
  const { mesh } = known;
  const { proxy, port, portPolicy, enforcer } = point;
  if (enforcer.proxy === 'none') return { state: 'none', reason: enforcer.reason! };
  if (portPolicy.unknown !== undefined) return atUnknownWaypoint(mesh, proxy);
  if (isRefused(mesh, point)) {
    const { object } = entry;
    const byAddress = object?.kind === 'Service' && refusedByAddress(mesh, [point], [object as Service]);
    if (byAddress) return byAddress;
    return enforcer.proxy === 'unknown'
      ? { state: 'unknown', reason: enforcer.reason! }
      : { state: 'required', reason: `policies at the ${enforcer.proxy} refuse other calls` };
  }
  const check = findAddedCheck(mesh, 'SIDECAR_INBOUND', proxy, port === undefined ? [] : [port]);
  if (check) return { state: 'assumed', reason: check };
  if (answerAt(mesh, point) === 'too large')
    return { state: 'unknown', reason: 'its policies are too large to evaluate' };
  return refusedToPods(known, point, entry) ?? openAt(known, point, entry);
}

/**
 * Returns the identity if policies reject the gateway Pods in the files but would allow Pods that may exist elsewhere.
 */
function refusedToPods({ mesh, complete }: KnownMesh, point: WorkloadPoint, entry: EntryPoint): Identity | undefined {
  const seen = peersOfPods(mesh, entry);
  if (seen.length === 0 || !isRefused(mesh, { ...point, calls: { ...point.calls, peers: seen } })) return undefined;
  if (complete) return { state: 'required', reason: `policies at the ${point.enforcer.proxy} refuse other calls` };
  const places = podsAreIn(seen.map(({ namespace }) => namespace));
  return { state: 'unknown', reason: `policies at the workload refuse other calls only if ${places}` };
}

/**
 * Explains why policies allow the calls. The result is unknown if objects outside the files could still require mutual
 * TLS.
 */
function openAt({ mesh, complete }: KnownMesh, { proxy, port, calls }: EnforcementPoint, entry: EntryPoint): Identity {
  const { general, ports } = peerModesOf(mesh, { ...proxy, kind: 'sidecar' });
  const mode = (port === undefined ? undefined : ports.get(port)) ?? general;
  if (calls.peers.length === 0 && !complete && !mode.policy) {
    const reason = "no PeerAuthentication among these files applies, and Istio's default is PERMISSIVE";
    // A controller outside the mesh only works with PERMISSIVE, unless it has a mesh identity.
    return { state: entry.proxy.by === 'none' ? 'unknown' : 'none', reason, byDefault: true };
  }
  if (calls.peers.length > 0) return { state: 'none', reason: 'its policies allow calls of the gateway' };
  return { state: 'none', reason: `its policies allow calls without a certificate (${mode.mode})` };
}

/** Determines the identity that an unknown waypoint requires. It may enforce any policy that has `targetRefs`. */
function atUnknownWaypoint(mesh: MeshView, { namespace }: Workload): Identity {
  const policy = [...new Set([namespace, mesh.config.rootNamespace])]
    .flatMap((place) => mesh.within('AuthorizationPolicy', place))
    .find((one) => !isForSidecars(one));
  return policy
    ? { state: 'assumed', reason: `AuthorizationPolicy ${policy.metadata.name} may require one at the waypoint` }
    : { state: 'none', reason: 'no policy targets the waypoint' };
}

/** Lists the enforcement points of all workloads at the destination. */
export function workloadEnforcementPoints(
  mesh: MeshView,
  exposure: Exposure,
  entry: EntryPoint,
): readonly WorkloadPoint[] {
  const { workloads: policies } = indexEnforcedPolicies(mesh);
  const calls: UnauthenticatedCalls = {
    peers: peersOf(mesh, entry),
    hosts: exposure.hosts,
    matches: rewrittenMatches(exposure.matches, exposure.rewrite),
  };
  // A raw connection may carry HTTP, so the policies for both protocols apply to undeclared ports.
  const spoken = exposure.protocol === 'http' ? (['http'] as const) : (['http', 'tcp'] as const);
  return workloadsBehind(mesh, exposure).flatMap((proxy) => {
    const port = destinationPort(exposure, proxy);
    // If the port is unknown, the ports that are mentioned in policies are merely candidates.
    const enforcer = findEnforcer(mesh, proxy, port, exposure, entry);
    const ports = port === undefined ? [undefined, ...policies.portsNamed] : [port];
    return ports.flatMap((one) =>
      spoken.map((protocol) => {
        const byEnforcer = policiesAt(mesh, enforcer, { proxy, port: one }, exposure);
        return { proxy, port: one, calls, enforcer, portPolicy: byEnforcer ?? policies.at(proxy, one, protocol) };
      }),
    );
  });
}

function isRefused(mesh: MeshView, point: EnforcementPoint): boolean {
  return answerAt(mesh, point) === 'refused';
}

function answerAt(mesh: MeshView, { calls, portPolicy }: EnforcementPoint): 'allowed' | 'refused' | 'too large' {
  const key = `answer ${portPolicy.key} ${JSON.stringify(calls)}`;
  return memoryOf(mesh)(key, () => {
    const found = findAllowedCall(portPolicy, calls);
    return typeof found === 'object' ? 'allowed' : found;
  });
}

/**
 * Lists the principals with which an entry point calls workloads. Without a mesh proxy, it has none. If the files only
 * contain Pods in other namespaces, there may be more Pods in the Gateway's own namespace.
 */
function peersOf(mesh: MeshView, entry: EntryPoint): readonly Peer[] {
  const { proxy } = entry;
  const peers = peersOfPods(mesh, entry);
  if (proxy.by !== 'istio') return peers;
  const home = homeOf(mesh, proxy);
  if (peers.some(({ namespace }) => namespace === home)) return peers;
  return [...peers, { trustDomain: mesh.config.trustDomain, namespace: home, serviceAccount: proxy.account }];
}

/** Lists the principals of the entry point's Pods that are in the files. */
function peersOfPods(mesh: MeshView, { proxy }: EntryPoint): readonly Peer[] {
  const pods =
    proxy.by === 'istio' ? listGatewayPods(mesh, proxy) : proxy.by === 'controller' ? (proxy.meshed ?? []) : [];
  const { trustDomain } = mesh.config;
  const peers = pods.map(({ namespace, serviceAccount }): Peer => ({ trustDomain, namespace, serviceAccount }));
  return distinct(peers, (one) => JSON.stringify(one));
}

/**
 * Lists the policies that a gateway's proxies enforce. If the files do not contain the gateway's Pods, they are assumed
 * to have the labels of its selector.
 */
export function policiesAtGateway(mesh: MeshView, { metadata, spec }: Gateway): readonly AuthorizationPolicy[] {
  const proxies = gatewayProxies(mesh, { namespace: metadata.namespace, selector: labels(spec.selector) });
  return [...new Set(proxies.flatMap((proxy) => authorizationPolicies(mesh, proxy)))];
}

/**
 * Returns the Pods of a gateway. If none of them is in the gateway's own namespace, a placeholder is added for it. If
 * no Pods are known at all, a placeholder is also added for each namespace with policies that select them.
 */
function gatewayProxies(mesh: MeshView, proxy: GatewayPods): readonly Workload[] {
  const pods = listGatewayPods(mesh, proxy);
  const { selector = {}, confined } = proxy;
  const home = homeOf(mesh, proxy);
  const selecting = confined || pods.length > 0 ? [] : namespacesSelecting(mesh, selector);
  const places = pods.some(({ namespace }) => namespace === home) ? [] : [home, ...selecting];
  return [...pods, ...[...new Set(places)].map((place) => standIn(mesh, place, selector, 'gateway'))];
}

/** Lists the namespaces that contain a policy for these labels. */
function namespacesSelecting(mesh: MeshView, selector: Labels): readonly string[] {
  return memoryOf(mesh)(`selecting ${JSON.stringify(selector)}`, () =>
    mesh
      .all('AuthorizationPolicy')
      .filter((policy) => isForSidecars(policy) && selectorOf(policy) && selects(selectorOf(policy), selector))
      .map(({ metadata }) => metadata.namespace),
  );
}

/**
 * Returns the workloads of a destination. If the files contain none, returns a placeholder whose labels are those of
 * the Service's selector, or are derived from the name of the destination.
 */
export function workloadsBehind(
  mesh: MeshView,
  { destination, service, pod }: Pick<Exposure, 'destination' | 'service' | 'pod'>,
): readonly Workload[] {
  if (pod) return [pod.workload];
  const pods = service ? mesh.podsBehind(service) : [];
  if (pods.length > 0) return pods;
  const known = serviceName(destination.host, mesh.config.clusterDomain);
  // The mesh's policies do not apply to destinations outside the cluster.
  if (!known) return [];
  const given = service ? labels(service.spec.selector) : { app: known.name, 'app.kubernetes.io/name': known.name };
  return [standIn(mesh, known.namespace, given, known.name)];
}

function standIn(mesh: MeshView, namespace: string, given: Labels, name: string): Workload {
  return { namespace, labels: given, name, kind: mesh.proxyKind(given), portNames: new Map() };
}

/** Returns the Pod port of the destination, or undefined if it is unknown. */
export function destinationPort({ destination, service, pod }: Exposure, { portNames }: Workload): number | undefined {
  if (pod) return pod.port;
  const ports = (service?.spec.ports ?? []).filter(isTcp);
  const named = ports.filter(({ port }) => destination.port === undefined || port === destination.port);
  const [port] = destination.port !== undefined || named.length === 1 ? named : [];
  return port && targetPortOf(portNames, port);
}
