/**
 * Whether the way through a gateway asks a caller who he is: at the gateway, or at the workload behind it. Each place is asked by itself:
 * policies that refuse everything only together count as open.
 */

import {
  type AuthorizationPolicy,
  type Gateway,
  type HttpMatch,
  type HttpRoute,
  isForSidecars,
  portNamesOf,
  selectorOf,
  selects,
  serviceName,
  targetPortOf,
} from '@meshpass/istio';
import { items, labels, record } from '@meshpass/istio/members';
import type { PortPolicy } from '../../diff/policy-index.ts';
import type { Workload as PolicyWorkload, Protocol } from '../../diff/workloads.ts';
import { enforcedIn } from '../enforced.ts';
import type { MeshView } from '../view.ts';
import type { Workload } from '../workload.ts';
import type { Exposure, GatewayUse } from './exposure.ts';
import { findAllowedCall, type Peer, type UnauthenticatedCalls } from './unauthenticated.ts';

/** Gateways of an exposure through which nobody is asked for an identity. */
export function openGateways(view: MeshView, exposure: Exposure): readonly GatewayUse[] {
  if (matchRequiresIdentity(exposure)) return [];
  return exposure.gateways.filter(
    (use) =>
      !tlsRequiresIdentity(use) &&
      !gatewayRequiresIdentity(view, exposure, use) &&
      !workloadRequiresIdentity(view, exposure, use),
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
  readonly proxy: PolicyWorkload;
  /** Undefined: any that nobody names. */
  readonly port: number | undefined;
  readonly calls: UnauthenticatedCalls;
  readonly portPolicy: PortPolicy;
}

/** A gateway is open where it, at one of its Pods, lets an anonymous call through. */
function gatewayRequiresIdentity(view: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const proxies = enforcementAtGateway(view, exposure, use);
  if (proxies.length === 0) return false;
  const refused = (asked: readonly EnforcementPoint[]) => asked.every((one) => isRefused(view, one));
  // Of stand-ins, each has the policies of one namespace in which the gateway's Pods may be.
  return gatewayWorkloads(view, use.gateway!).length > 0 ? proxies.every(refused) : proxies.some(refused);
}

function workloadRequiresIdentity(view: MeshView, exposure: Exposure, use: GatewayUse): boolean {
  const asked = enforcementAtWorkload(view, exposure, use);
  return asked.length > 0 && asked.every((one) => isRefused(view, one));
}

/** By Pod of the gateway. */
export function enforcementAtGateway(
  view: MeshView,
  { hosts, matches, protocol }: Exposure,
  { gateway }: GatewayUse,
): readonly (readonly EnforcementPoint[])[] {
  if (!gateway) return [];
  const calls: UnauthenticatedCalls = { peers: [], hosts, matches };
  const portPolicies = guardsAt(view, gateway, protocol === 'http' ? 'http' : 'tcp');
  return portPolicies.map((ofProxy) => ofProxy.map((one) => ({ ...one, calls })));
}

type Guards = readonly (readonly Omit<EnforcementPoint, 'calls'>[])[];

/** A gateway has many routes, and its Pods and ports mostly have the same policies. */
const GUARDS = new WeakMap<MeshView, Map<string, Guards>>();

function guardsAt(view: MeshView, gateway: Gateway, protocol: Protocol): Guards {
  const known = GUARDS.get(view) ?? new Map<string, Guards>();
  GUARDS.set(view, known);
  const key = `${protocol} ${gateway.metadata.namespace}/${gateway.metadata.name}`;
  let portPolicies = known.get(key);
  if (!portPolicies) {
    const { gateways: policies } = enforcedIn(view);
    const byProxy = gatewayProxies(view, gateway).map((proxy) => {
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
  view: MeshView,
  exposure: Exposure,
  use: GatewayUse,
): readonly EnforcementPoint[] {
  const { workloads: policies } = enforcedIn(view);
  const calls: UnauthenticatedCalls = {
    peers: peersOf(view, use),
    hosts: exposure.hosts,
    matches: rewritten(exposure.matches, exposure.route),
  };
  // Of bytes, those that happen to be HTTP are judged as such on ports that declare nothing.
  const spoken = exposure.protocol === 'http' ? (['http'] as const) : (['http', 'tcp'] as const);
  return workloadsBehind(view, exposure).flatMap((proxy) => {
    const port = podPort(exposure, proxy);
    const ports = port === undefined ? [undefined, ...policies.portsNamed] : [port];
    return ports.flatMap((one) =>
      spoken.map((protocol) => ({ proxy, port: one, calls, portPolicy: policies.at(proxy, one, protocol) })),
    );
  });
}

const REFUSED = new WeakMap<MeshView, Map<string, boolean>>();

function isRefused(view: MeshView, { calls, portPolicy }: EnforcementPoint): boolean {
  const known = REFUSED.get(view) ?? new Map<string, boolean>();
  REFUSED.set(view, known);
  const key = `${portPolicy.key} ${JSON.stringify(calls)}`;
  let refused = known.get(key);
  if (refused === undefined) {
    refused = findAllowedCall(portPolicy, calls) === 'refused';
    known.set(key, refused);
  }
  return refused;
}

/** As whom a gateway calls. */
function peersOf(view: MeshView, { gateway, name }: GatewayUse): readonly Peer[] {
  const { trustDomain } = enforcedIn(view);
  const pods = gateway ? gatewayWorkloads(view, gateway) : [];
  const peers = pods.map(({ namespace, serviceAccount }): Peer => ({ trustDomain, namespace, serviceAccount }));
  if (peers.length > 0) return distinct(peers, (one) => JSON.stringify(one));
  const namespace = gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/'));
  return [{ trustDomain, namespace, serviceAccount: undefined }];
}

/** Pods that a Gateway is for. */
export function gatewayWorkloads(view: MeshView, gateway: Gateway): readonly Workload[] {
  return podsOf(view, gateway);
}

/** Policies that the gateway's own proxies enforce. Where its pods are not among the files, their labels are the selector's. */
export function policiesAtGateway(view: MeshView, gateway: Gateway): readonly AuthorizationPolicy[] {
  const proxies = gatewayProxies(view, gateway);
  return [...new Set(proxies.flatMap(({ namespace, labels: given }) => view.policiesOn({ namespace, labels: given })))];
}

/** A gateway has many routes, and finding its pods takes a look at all pods. */
const KNOWN = new WeakMap<MeshView, Map<Gateway, readonly Workload[]>>();

function podsOf(view: MeshView, gateway: Gateway): readonly Workload[] {
  const gateways = KNOWN.get(view) ?? new Map<Gateway, readonly Workload[]>();
  KNOWN.set(view, gateways);
  let found = gateways.get(gateway);
  if (!found) {
    const selector = labels(gateway.spec.selector);
    const none = Object.keys(selector).length === 0;
    found = none ? [] : view.workloads.filter((one) => selects(selector, one.labels));
    gateways.set(gateway, found);
  }
  return found;
}

/** Its Pods, or what stands for them: in its own namespace, and in each whose policies select them. */
function gatewayProxies(view: MeshView, gateway: Gateway): readonly PolicyWorkload[] {
  const pods = gatewayWorkloads(view, gateway);
  if (pods.length > 0) return pods.map(proxyOf);
  const selector = labels(gateway.spec.selector);
  const selecting = view
    .of('AuthorizationPolicy')
    .filter((policy) => isForSidecars(policy) && selectorOf(policy) && selects(selectorOf(policy), selector))
    .map(({ metadata }) => metadata.namespace);
  return [...new Set([gateway.metadata.namespace, ...selecting])].map((namespace) =>
    standIn(namespace, selector, gateway.metadata.name),
  );
}

/** Where no workload is among the files, one with the labels of the Service's selector, or those that its name suggests. */
function workloadsBehind(view: MeshView, { destination, service }: Exposure): readonly PolicyWorkload[] {
  const pods = service ? view.workloadsOf(service) : [];
  if (pods.length > 0) return pods.map(proxyOf);
  const known = serviceName(destination.host, view.clusterDomain);
  // No policy of the mesh guards what is not of the cluster.
  if (!known) return [];
  const given = service ? labels(service.spec.selector) : { app: known.name, 'app.kubernetes.io/name': known.name };
  return [standIn(known.namespace, given, known.name)];
}

const PROXIES = new WeakMap<Workload, PolicyWorkload>();

/** The same object for the same Pod: what is known of it is remembered by it. */
function proxyOf(workload: Workload): PolicyWorkload {
  const { namespace, labels: given, name, pod } = workload;
  const proxy = PROXIES.get(workload) ?? { namespace, labels: given, name, portNames: portNamesOf(pod) };
  PROXIES.set(workload, proxy);
  return proxy;
}

function standIn(namespace: string, given: Workload['labels'], name: string): PolicyWorkload {
  return { namespace, labels: given, name, portNames: new Map() };
}

function podPort({ destination, service }: Exposure, { portNames }: PolicyWorkload): number | undefined {
  const ports = items(service?.spec.ports);
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
