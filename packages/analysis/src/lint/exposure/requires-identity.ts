/**
 * Checks whether a route through a gateway requires an identity, at the gateway or at the workload behind it. Each
 * point is evaluated on its own: policies that refuse all calls only in combination count as open.
 */

import { memory, remembered } from '@meshpass/identity/memory/remembered';
import {
  type AuthorizationPolicy,
  authorizationPolicies,
  type Gateway,
  type HttpMatch,
  type HttpRoute,
  identityOf,
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
import { distinct, labels, record } from '@meshpass/istio/members';
import type { PortPolicy } from '../../diff/policy-index.ts';
import type { Protocol } from '../../diff/workloads.ts';
import { enforcedIn } from '../enforced.ts';
import type { Exposure, GatewayUse } from './exposure.ts';
import { findAllowedCall, type Peer, type UnauthenticatedCalls } from './unauthenticated.ts';

/** Lists the gateways through which an exposure is reachable without an identity. */
export function openGateways(mesh: MeshView, exposure: Exposure): readonly GatewayUse[] {
  if (matchRequiresIdentity(exposure)) return [];
  return exposure.gateways.filter(
    (use) =>
      !tlsRequiresIdentity(use) &&
      !gatewayRequiresIdentity(mesh, exposure, use) &&
      !workloadRequiresIdentity(mesh, exposure, use),
  );
}

/**
 * Whether every match requires a verified token, because a gateway only recognizes claims of verified tokens. Source:
 * https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
 */
function matchRequiresIdentity({ matches }: Exposure): boolean {
  return (
    matches.length > 0 &&
    matches.every(({ headers }) => Object.keys(record(headers)).some((name) => name.startsWith('@request.auth.claims')))
  );
}

/** Whether every server requires a client certificate that its own roots verify (`MUTUAL`). */
function tlsRequiresIdentity({ servers }: GatewayUse): boolean {
  return servers.length > 0 && servers.every(({ tls }) => tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL');
}

/** Anonymous calls that reach one proxy through one gateway of an exposure, and the policies there. */
export interface EnforcementPoint {
  /** Proxy of a gateway or of a workload behind it. Only has labels if its Pods are not among the files. */
  readonly proxy: Workload;
  /** Undefined for ports that no object names. */
  readonly port: number | undefined;
  readonly calls: UnauthenticatedCalls;
  readonly portPolicy: PortPolicy;
}

/** Whether the gateway refuses anonymous calls. A single Pod that allows such a call makes it open. */
function gatewayRequiresIdentity(mesh: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const proxies = enforcementAtGateway(mesh, exposure, use);
  if (proxies.length === 0) return false;
  const refused = (asked: readonly EnforcementPoint[]) => asked.every((one) => isRefused(mesh, one));
  // Each stand-in has the policies of one namespace that the gateway's Pods may be in.
  return gatewayWorkloads(mesh, use.gateway!).length > 0 ? proxies.every(refused) : proxies.some(refused);
}

function workloadRequiresIdentity(mesh: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const asked = enforcementAtWorkload(mesh, exposure, use);
  return asked.length > 0 && asked.every((one) => isRefused(mesh, one));
}

/** Lists the enforcement points of each gateway Pod. */
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

/** Cached results per mesh, because a gateway has many routes, and its Pods and ports mostly have the same policies. */
const memoryOf = remembered((_mesh: MeshView) => memory());

function guardsAt(mesh: MeshView, gateway: Gateway, protocol: Protocol): Guards {
  return memoryOf(mesh)(`guards ${protocol} ${identityOf(gateway)}`, (): Guards => {
    const { gateways: policies } = enforcedIn(mesh);
    const byProxy = gatewayProxies(mesh, gateway).map((proxy) => {
      // The Service that maps a server's port to a Pod port may not be among the files.
      const all = [undefined, ...policies.portsNamed].map((port) => ({
        proxy,
        port,
        portPolicy: policies.at(proxy, port, protocol),
      }));
      return distinct(all, ({ portPolicy }) => portPolicy.key);
    });
    return distinct(byProxy, (ofProxy) => JSON.stringify(ofProxy.map(({ portPolicy }) => portPolicy.key)));
  });
}

/** Lists the enforcement points of every workload of the destination. */
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
  // Raw bytes may be HTTP, so both protocols apply to undeclared ports.
  const spoken = exposure.protocol === 'http' ? (['http'] as const) : (['http', 'tcp'] as const);
  return workloadsBehind(mesh, exposure).flatMap((proxy) => {
    const port = podPort(exposure, proxy);
    const ports = port === undefined ? [undefined, ...policies.portsNamed] : [port];
    return ports.flatMap((one) =>
      spoken.map((protocol) => ({ proxy, port: one, calls, portPolicy: policies.at(proxy, one, protocol) })),
    );
  });
}

function isRefused(mesh: MeshView, { calls, portPolicy }: EnforcementPoint): boolean {
  const key = `refused ${portPolicy.key} ${JSON.stringify(calls)}`;
  return memoryOf(mesh)(key, () => findAllowedCall(portPolicy, calls) === 'refused');
}

/** Lists the principals that a gateway uses to call workloads. */
function peersOf(mesh: MeshView, { gateway, name }: GatewayUse): readonly Peer[] {
  const { trustDomain } = enforcedIn(mesh);
  const pods = gateway ? gatewayWorkloads(mesh, gateway) : [];
  const peers = pods.map(({ namespace, serviceAccount }): Peer => ({ trustDomain, namespace, serviceAccount }));
  if (peers.length > 0) return distinct(peers, (one) => JSON.stringify(one));
  const namespace = gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/'));
  return [{ trustDomain, namespace, serviceAccount: undefined }];
}

/**
 * Lists the policies that the gateway's own proxies enforce. If its Pods are not among the files, they are assumed to
 * have the selector's labels.
 */
export function policiesAtGateway(mesh: MeshView, gateway: Gateway): readonly AuthorizationPolicy[] {
  const proxies = gatewayProxies(mesh, gateway);
  return [...new Set(proxies.flatMap((proxy) => authorizationPolicies(mesh, proxy)))];
}

/** Lists the Pods that an Istio Gateway selects. */
function gatewayWorkloads(mesh: MeshView, gateway: Gateway): readonly PodWorkload[] {
  return memoryOf(mesh)(`pods ${identityOf(gateway)}`, () => {
    const selector = labels(gateway.spec.selector);
    const none = Object.keys(selector).length === 0;
    return none ? [] : mesh.pods.filter((one) => selects(selector, one.labels));
  });
}

/**
 * Returns the gateway's Pods, or stand-ins for them: in its own namespace, and in each namespace whose policies select
 * them.
 */
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

/**
 * Returns the destination's workloads. If none is among the files, returns a stand-in with the labels of the Service's
 * selector, or else with labels that its name suggests.
 */
function workloadsBehind(mesh: MeshView, { destination, service }: Exposure): readonly Workload[] {
  const pods = service ? mesh.podsBehind(service) : [];
  if (pods.length > 0) return pods;
  const known = serviceName(destination.host, mesh.config.clusterDomain);
  // No policy of the mesh applies outside the cluster.
  if (!known) return [];
  const given = service ? labels(service.spec.selector) : { app: known.name, 'app.kubernetes.io/name': known.name };
  return [standIn(mesh, known.namespace, given, known.name)];
}

function standIn(mesh: MeshView, namespace: string, given: Labels, name: string): Workload {
  return { namespace, labels: given, name, kind: mesh.proxyKind(given), portNames: new Map() };
}

function podPort({ destination, service }: Exposure, { portNames }: Workload): number | undefined {
  const ports = (service?.spec.ports ?? []).filter(isTcp);
  const named = ports.filter(({ port }) => destination.port === undefined || port === destination.port);
  const [port] = destination.port !== undefined || named.length === 1 ? named : [];
  return port && targetPortOf(portNames, port);
}

/** Adapts matches to the request that the workload receives after the route's rewrite. */
function rewritten(matches: readonly HttpMatch[], route: HttpRoute | undefined): readonly HttpMatch[] {
  const { uri: written, uriRegexRewrite } = route?.rewrite ?? {};
  if (uriRegexRewrite !== undefined) return matches.map((match) => ({ ...match, uri: {} }));
  if (written === undefined) return matches;
  return matches.map((match) => {
    if (match.uri?.exact !== undefined) return { ...match, uri: { exact: written } };
    return { ...match, uri: match.uri?.prefix !== undefined ? { prefix: written } : {} };
  });
}
