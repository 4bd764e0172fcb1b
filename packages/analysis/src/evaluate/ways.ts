/**
 * Determines the paths that a call to a workload may take. Callers in ambient mode go through a Service's waypoint,
 * while callers with a sidecar connect to its Pods. A ztunnel sends plain text to a sidecar that does not accept HBONE.
 */
import { createMemo, memoize } from '@meshpass/identity/memory/memoize';
import {
  gatewaysUseWaypoint,
  type MeshView,
  type Service,
  servicePortProtocols,
  type Waypoint,
  type Workload,
} from '@meshpass/istio';
import { type CallerProxy, listCallerProxies } from '../caller-proxy.ts';
import { type Authorizer, createAuthorizer } from './authorizer.ts';
import type { Call, Decision } from './call.ts';

/** Waypoint in front of a Service's port. */
export interface WaypointAuthorizer {
  /** Namespace and name: `shop/gate`. */
  readonly name: string;
  readonly authorizer: Authorizer;
  /** Port and address of the Service. The waypoint's policies match against them. */
  readonly port: number;
  readonly address: string | undefined;
  /** Principals that the waypoint uses to call the workload. */
  readonly principals: readonly string[];
  /** Whether gateways also send their calls to the waypoint. */
  readonly forGateways: boolean;
}

type KnownProxy = Extract<CallerProxy, 'ambient' | 'sidecar' | 'gateway'>;

/** Proxies in front of a workload's port. */
export interface PortProxies {
  readonly authorizer: Authorizer;
  readonly proxy: 'sidecar' | 'ztunnel';
  /** Waypoint of the Service, if the workload is in ambient mode. */
  readonly waypoint?: WaypointAuthorizer;
  /**
   * Whether the workload's sidecar accepts HBONE. If so, callers in ambient mode have an identity. Undefined if
   * unknown.
   */
  readonly acceptsHbone?: boolean;
  /** Returns the proxy of the workloads that have an identity. Undefined if it is unknown. */
  readonly callerProxy: (principal: string) => KnownProxy | undefined;
}

/** Compiles a waypoint's policies for one Service port. */
export function compileWaypointAuthorizer(
  view: MeshView,
  waypoint: Waypoint,
  service: Service,
  port: number,
): WaypointAuthorizer {
  const { metadata, spec } = service;
  const { name, namespace } = waypoint.gateway.metadata;
  const workload: Workload = { ...waypoint.proxy, name, portNames: new Map() };
  const authorizer = createAuthorizer(view, workload, {
    service: { kind: 'Service', namespace: metadata.namespace, name: metadata.name },
    protocols: servicePortProtocols(service),
  });
  const address = spec.clusterIP;
  return {
    name: `${namespace}/${name}`,
    authorizer,
    port,
    address: address === '' ? undefined : address,
    principals: waypoint.principals,
    forGateways: gatewaysUseWaypoint(view, service),
  };
}

/** Decides a call that goes through a waypoint. The waypoint calls the workload with its own identity. */
export function decideThroughWaypoint(
  guard: WaypointAuthorizer,
  authorizer: Authorizer,
  call: Call,
): readonly Decision[] {
  const { sni: _, announces: __, destinationIp: ___, ...seen } = call;
  const atWaypoint: Decision = {
    ...guard.authorizer.decide({
      ...seen,
      port: guard.port,
      ...(guard.address !== undefined && { destinationIp: guard.address }),
    }),
    at: `waypoint ${guard.name}`,
  };
  if (!atWaypoint.allowed) return [atWaypoint];
  return guard.principals.map((principal) => {
    const { port, destinationIp } = call;
    const forwarded: Call = { port, principal, ...(destinationIp !== undefined && { destinationIp }) };
    const atPod = authorizer.decide(forwarded);
    return atPod.allowed ? atWaypoint : { ...atPod, at: `${atPod.at ?? 'sidecar'} behind waypoint ${guard.name}` };
  });
}

export interface Way {
  readonly decision: Decision;
  /** Path that the call takes: `through waypoint shop/gate`. */
  readonly by: string;
  /** Explains why more than one path is possible. */
  readonly why: string;
}

/**
 * Decides a call for each path that it may take. There is only one path if the caller's proxy is known or makes no
 * difference.
 */
export function decideEveryPath(guarded: PortProxies, call: Call): readonly [Way, ...Way[]] {
  const { authorizer, waypoint, proxy } = guarded;
  const direct = (by: string, one: Call = call): Way => ({ decision: authorizer.decide(one), by, why: NOT_KNOWN });
  if (call.principal === undefined) return [direct('without mutual TLS')];
  const caller = guarded.callerProxy(call.principal);
  if (proxy === 'sidecar') {
    const { principal: _, sni: __, ...plain } = call;
    if (caller !== 'ambient' || guarded.acceptsHbone === true) return [direct('with mutual TLS')];
    const asPlain: Way = { ...direct('in plain text', plain), why: HBONE };
    return guarded.acceptsHbone === false ? [asPlain] : [{ ...direct('by HBONE'), why: HBONE }, asPlain];
  }
  if (!waypoint) return [direct('by HBONE')];
  const through = (): readonly Way[] =>
    decideThroughWaypoint(waypoint, authorizer, call).map((decision) => ({
      decision,
      by: `through waypoint ${waypoint.name}`,
      why: ACCOUNTS,
    }));
  const way = call.way ?? (waypoint.principals.includes(call.principal) ? 'pod' : wayOf(caller, waypoint));
  if (way === 'pod') return [direct('straight to the Pod')];
  const [first, ...rest] = through() as [Way, ...Way[]];
  return way === 'waypoint' ? [first, ...rest] : [{ ...first, why: NOT_KNOWN }, ...rest, direct('straight to the Pod')];
}

const NOT_KNOWN = 'it is not known whether the caller is in ambient mode';
const HBONE = 'the caller is in ambient mode, and it is not known whether the sidecar accepts HBONE';
const ACCOUNTS = 'the Pods of the waypoint have several ServiceAccounts';

function wayOf(caller: KnownProxy | undefined, { forGateways }: WaypointAuthorizer): Call['way'] {
  if (caller === 'ambient') return 'waypoint';
  if (caller === 'gateway') return forGateways ? 'waypoint' : 'pod';
  return caller === 'sidecar' ? 'pod' : undefined;
}

/** Determines the proxy of the workloads that have an identity. If none of them is known, uses their namespace. */
export function callerProxy(view: MeshView, principal: string): KnownProxy | undefined {
  return proxiesIn(view)(principal, () => {
    const [, , namespace = '', , account = ''] = principal.split('/');
    const [proxy, ...others] = listCallerProxies(view, namespace, account).proxies;
    const isKnown = others.length === 0 && (proxy === 'ambient' || proxy === 'sidecar' || proxy === 'gateway');
    return isKnown ? proxy : undefined;
  });
}

/** Cached per mesh, because a matrix queries each caller at each endpoint. */
const proxiesIn = memoize((_view: MeshView) => createMemo());
