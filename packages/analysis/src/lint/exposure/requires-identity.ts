/**
 * Whether the way through a gateway asks a caller who he is: at the gateway, or at the workload behind it. Each place is asked by itself:
 * policies that refuse everything only together count as open.
 */

import {
  type AuthorizationPolicy,
  authorizationPolicies,
  type Gateway,
  type HttpMatch,
  type HttpRoute,
  isForSidecars,
  isTcp,
  type Labels,
  type MeshView,
  type PodWorkload,
  selectorOf,
  selects,
  serviceName,
  targetPortOf,
  type Workload,
} from '@meshpass/istio';
import { items, labels, record } from '@meshpass/istio/members';
import type { PortPolicy } from '../../diff/policy-index.ts';
import type { Protocol } from '../../diff/workloads.ts';
import { enforcedIn } from '../enforced.ts';
import type { Exposure, GatewayUse } from './exposure.ts';
import { findAllowedCall, type Peer, type UnauthenticatedCalls } from './unauthenticated.ts';

/** Gateways of an exposure through which nobody is asked for an identity. */
export function openGateways(mesh: MeshView, exposure: Exposure): readonly GatewayUse[] {
  if (matchRequiresIdentity(exposure)) return [];
  return exposure.gateways.filter(
    (use) =>
      !tlsRequiresIdentity(use) &&
      !gatewayRequiresIdentity(mesh, exposure, use) &&
      !workloadRequiresIdentity(mesh, exposure, use),
  );
}

/** A gateway knows claims of verified tokens only. Source: https://istio.io/latest/docs/tasks/security/authentication/jwt-route/ */
function matchRequiresIdentity({ matches }: Exposure): boolean {
  return (
    matches.length > 0 &&
    matches.every(({ headers }) => Object.keys(record(headers)).some((name) => name.startsWith('@request.auth.claims')))
  );
}

/** `MUTUAL` demands a certificate that the gateway's own roots verify. */
function tlsRequiresIdentity({ servers }: GatewayUse): boolean {
  return servers.length > 0 && servers.every(({ tls }) => tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL');
}

/** Anonymous calls of an exposure through one gateway at one proxy, and what guards them there. */
export interface EnforcementPoint {
  /** The proxy: of a gateway, or of a workload behind it; labels alone where its Pods are not among the files. */
  readonly proxy: Workload;
  /** Undefined: any that nobody names. */
  readonly port: number | undefined;
  readonly calls: UnauthenticatedCalls;
  readonly portPolicy: PortPolicy;
}

/** A gateway is open where it, at one of its Pods, lets an anonymous call through. */
function gatewayRequiresIdentity(mesh: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const proxies = enforcementAtGateway(mesh, exposure, use);
  if (proxies.length === 0) return false;
  const refused = (asked: readonly EnforcementPoint[]) => asked.every((one) => isRefused(mesh, one));
  // Of stand-ins, each has the policies of one namespace in which the gateway's Pods may be.
  return gatewayWorkloads(mesh, use.gateway!).length > 0 ? proxies.every(refused) : proxies.some(refused);
}

function workloadRequiresIdentity(mesh: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const asked = enforcementAtWorkload(mesh, exposure, use);
  return asked.length > 0 && asked.every((one) => isRefused(mesh, one));
}

/** By Pod of the gateway. */
export function enforcementAtGateway(
  mesh: MeshView,
  { hosts, matches, protocol }: Exposure,
  { gateway }: GatewayUse,
): readonly (readonly EnforcementPoint[])[] {
  if (!gateway) return [];
  const calls: UnauthenticatedCalls = { peers: [], hosts, matches };
  const portPolicies = guardsAt(mesh, gateway, protocol === 'http' ? 'http' : 'tcp');
  return portPolicies.map((ofProxy) => ofProxy.map((one) => ({ ...one, calls })));
}

type Guards = readonly (readonly Omit<EnforcementPoint, 'calls'>[])[];

/** A gateway has many routes, and its Pods and ports mostly have the same policies. */
const GUARDS = new WeakMap<MeshView, Map<string, Guards>>();

function guardsAt(mesh: MeshView, gateway: Gateway, protocol: Protocol): Guards {
  const known = GUARDS.get(mesh) ?? new Map<string, Guards>();
  GUARDS.set(mesh, known);
  const key = `${protocol} ${gateway.metadata.namespace}/${gateway.metadata.name}`;
  let portPolicies = known.get(key);
  if (!portPolicies) {
    const { gateways: policies } = enforcedIn(mesh);
    const byProxy = gatewayProxies(mesh, gateway).map((proxy) => {
      // Which port of the Pod a server's port is, a Service says that may not be among the files.
      const all = [undefined, ...policies.portsNamed].map((port) => ({
        ...{ proxy, port, portPolicy: policies.at(proxy, port, protocol) },
      }));
      return distinct(all, ({ portPolicy }) => portPolicy.key);
    });
    portPolicies = distinct(byProxy, (ofProxy) => JSON.stringify(ofProxy.map(({ portPolicy }) => portPolicy.key)));
    known.set(key, portPolicies);
  }
  return portPolicies;
}

function distinct<T>(all: readonly T[], keyOf: (one: T) => string): readonly T[] {
  return [...new Map(all.toReversed().map((one) => [keyOf(one), one])).values()].toReversed();
}

/** At every workload of the destination. */
export function enforcementAtWorkload(
  mesh: MeshView,
  exposure: Exposure,
  use: GatewayUse,
): readonly EnforcementPoint[] {
  const { workloads: policies } = enforcedIn(mesh);
  const calls: UnauthenticatedCalls = {
    peers: peersOf(mesh, use),
    hosts: exposure.hosts,
    matches: rewritten(exposure.matches, exposure.route),
  };
  // Of bytes, those that happen to be HTTP are judged as such on ports that declare nothing.
  const spoken = exposure.protocol === 'http' ? (['http'] as const) : (['http', 'tcp'] as const);
  return workloadsBehind(mesh, exposure).flatMap((proxy) => {
    const port = podPort(exposure, proxy);
    const ports = port === undefined ? [undefined, ...policies.portsNamed] : [port];
    return ports.flatMap((one) =>
      spoken.map((protocol) => ({ proxy, port: one, calls, portPolicy: policies.at(proxy, one, protocol) })),
    );
  });
}

const REFUSED = new WeakMap<MeshView, Map<string, boolean>>();

function isRefused(mesh: MeshView, { calls, portPolicy }: EnforcementPoint): boolean {
  const known = REFUSED.get(mesh) ?? new Map<string, boolean>();
  REFUSED.set(mesh, known);
  const key = `${portPolicy.key} ${JSON.stringify(calls)}`;
  let refused = known.get(key);
  if (refused === undefined) {
    refused = findAllowedCall(portPolicy, calls) === 'refused';
    known.set(key, refused);
  }
  return refused;
}

/** As whom a gateway calls. */
function peersOf(mesh: MeshView, { gateway, name }: GatewayUse): readonly Peer[] {
  const { trustDomain } = enforcedIn(mesh);
  const pods = gateway ? gatewayWorkloads(mesh, gateway) : [];
  const peers = pods.map(({ namespace, serviceAccount }): Peer => ({ trustDomain, namespace, serviceAccount }));
  if (peers.length > 0) return distinct(peers, (one) => JSON.stringify(one));
  const namespace = gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/'));
  return [{ trustDomain, namespace, serviceAccount: undefined }];
}

/** Policies that the gateway's own proxies enforce. Where its pods are not among the files, their labels are the selector's. */
export function policiesAtGateway(mesh: MeshView, gateway: Gateway): readonly AuthorizationPolicy[] {
  const proxies = gatewayProxies(mesh, gateway);
  return [...new Set(proxies.flatMap((proxy) => authorizationPolicies(mesh, proxy)))];
}

/** A gateway has many routes, and finding its Pods looks at all Pods. */
const KNOWN = new WeakMap<MeshView, Map<Gateway, readonly PodWorkload[]>>();

/** Pods that an Istio Gateway selects. */
export function gatewayWorkloads(mesh: MeshView, gateway: Gateway): readonly PodWorkload[] {
  const gateways = KNOWN.get(mesh) ?? new Map<Gateway, readonly PodWorkload[]>();
  KNOWN.set(mesh, gateways);
  let found = gateways.get(gateway);
  if (!found) {
    const selector = labels(gateway.spec.selector);
    const none = Object.keys(selector).length === 0;
    found = none ? [] : mesh.pods.filter((one) => selects(selector, one.labels));
    gateways.set(gateway, found);
  }
  return found;
}

/** Its Pods, or what stands for them: in its own namespace, and in each whose policies select them. */
function gatewayProxies(mesh: MeshView, gateway: Gateway): readonly Workload[] {
  const pods = gatewayWorkloads(mesh, gateway);
  if (pods.length > 0) return pods;
  const selector = labels(gateway.spec.selector);
  const selecting = mesh
    .all('AuthorizationPolicy')
    .filter((policy) => isForSidecars(policy) && selectorOf(policy) && selects(selectorOf(policy), selector))
    .map(({ metadata }) => metadata.namespace);
  return [...new Set([gateway.metadata.namespace, ...selecting])].map((namespace) =>
    standIn(mesh, namespace, selector, gateway.metadata.name),
  );
}

/** Where no workload is among the files, one with the labels of the Service's selector, or those that its name suggests. */
function workloadsBehind(mesh: MeshView, { destination, service }: Exposure): readonly Workload[] {
  const pods = service ? mesh.podsBehind(service) : [];
  if (pods.length > 0) return pods;
  const known = serviceName(destination.host, mesh.config.clusterDomain);
  // No policy of the mesh guards what is not of the cluster.
  if (!known) return [];
  const given = service ? labels(service.spec.selector) : { app: known.name, 'app.kubernetes.io/name': known.name };
  return [standIn(mesh, known.namespace, given, known.name)];
}

function standIn(mesh: MeshView, namespace: string, given: Labels, name: string): Workload {
  return { namespace, labels: given, name, kind: mesh.proxyKind(given), portNames: new Map() };
}

function podPort({ destination, service }: Exposure, { portNames }: Workload): number | undefined {
  const ports = items(service?.spec.ports).filter(isTcp);
  const port =
    destination.port === undefined
      ? ports.length === 1
        ? ports[0]
        : undefined
      : ports.find((one) => one.port === destination.port);
  return port && targetPortOf(portNames, port);
}

/** Matches as the workload sees them, after the route's rewrite. */
function rewritten(matches: readonly HttpMatch[], route: HttpRoute | undefined): readonly HttpMatch[] {
  const to = record(route?.rewrite);
  const { uri: written } = to;
  if (typeof to.uriRegexRewrite === 'object') return matches.map((match) => ({ ...match, uri: {} }));
  if (typeof written !== 'string') return matches;
  return matches.map((match) => {
    if (match.uri?.exact !== undefined) return { ...match, uri: { exact: written } };
    return { ...match, uri: match.uri?.prefix !== undefined ? { prefix: written } : {} };
  });
}
